package datasets_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/producers/datasets"
)

// folder writes files into a folder of their own and returns it.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir
}

func TestFilesThatAreNotUTF8AreRefusedWithTheirPlace(t *testing.T) {
	t.Parallel()
	const (
		rated  = "userId,movieId,rating,timestamp\n1,2,3,1100000000\n"
		viewed = "user,item,timestamp\nu,i,1700000000\n"
	)
	cases := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{
			"user",
			map[string]string{"x.csv": viewed + "M\xfcller,i,1700000000\n"},
			`x.csv, line 3: field 1, "M\xfcller", is not UTF-8: byte 2 is 0xfc`,
		},
		{
			"item",
			map[string]string{"x.csv": viewed + "u,M\xf6ller,1700000000\n"},
			`x.csv, line 3: field 2, "M\xf6ller", is not UTF-8: byte 2 is 0xf6`,
		},
		{"other column", map[string]string{
			"x.csv": "user,item,timestamp,value,city\nu,i,1700000000,,Gen\xe8ve\n",
		}, "line 2: field 5"},
		{"title", map[string]string{
			"ratings.csv": rated, "movies.csv": "movieId,title,genres\n2,Caf\xe9 (1990),Drama\n",
		}, "movies.csv, line 2: field 2"},
		{
			"u.data",
			map[string]string{"u.data": "1\t2\t3\t880000100\n\xfc\t2\t3\t880000100\n"},
			"u.data, line 2: is not UTF-8: byte 1 is 0xfc",
		},
		{
			"ratings.dat",
			map[string]string{"ratings.dat": "1::\xfc::3::880000100\n"},
			"ratings.dat, line 1: is not UTF-8: byte 4 is 0xfc",
		},
		{"user_artists.dat", map[string]string{
			"user_artists.dat": "userID\tartistID\tweight\n2\t\xfc\t3\n",
		}, "user_artists.dat, line 2: is not UTF-8: byte 3 is 0xfc"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := datasets.Open(t.Context(), datasets.Config{Path: folder(t, c.files)})
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Run("items file", func(t *testing.T) {
		t.Parallel()
		dir := folder(t, map[string]string{"x.csv": viewed, "i": "item_id,title\ni,Caf\xe9\n"})
		_, err := datasets.Open(t.Context(), datasets.Config{
			Path: filepath.Join(dir, "x.csv"), Items: filepath.Join(dir, "i"),
		})
		require.ErrorContains(t, err, "i, line 2: field 2")
	})
	t.Run("the Latin-1 of old data sets is read as their documents say", func(t *testing.T) {
		t.Parallel()
		d := openDataset(t, datasets.Config{Path: folder(t, map[string]string{
			"ratings.dat": "1::2::3::880000100\n",
			"movies.dat":  "2::Caf\xe9 (1990)::Drama\n3::Caf\u00e9 (1991)::Drama\n",
		})})
		items := slices.Collect(d.Items())
		require.Equal(t, "Café (1990)", items[0].Title)
		require.Equal(t, "Café (1991)", items[1].Title)
	})
}
