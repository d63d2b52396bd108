package datasets_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/schemas"
)

// one opens a folder with one file.
func one(t *testing.T, name, content string) *datasets.Dataset {
	t.Helper()
	return openDataset(
		t, datasets.Config{Path: folder(t, map[string]string{name: content})},
	)
}

// imputed counts the interactions whose time is not in the data.
func imputed(d *datasets.Dataset) (n int) {
	for x := range d.Interactions() {
		if x.Context[datasets.ContextTime] == datasets.ContextTimeImputed {
			n++
		}
	}
	return n
}

func TestIDsWithSlashesStayApart(t *testing.T) {
	t.Parallel()
	// Every pair at the same time: "a/b" likes "c", and "a" likes "b/c".
	ids := []string{"a", "b", "c", "a/b", "b/c", "a/b/c", "/", "//", "1:a", "3:a", "3:a/b", "a%2Fb"}
	var b strings.Builder
	b.WriteString("user,item,timestamp\n")
	for _, user := range ids {
		for _, item := range ids {
			fmt.Fprintf(&b, "%s,%s,1700000000\n", user, item)
		}
	}
	seen := map[string]string{}
	for x := range one(t, "x.csv", b.String()).Interactions() {
		pair := fmt.Sprintf("%q %q", x.UserID, x.ItemID)
		require.Empty(t, seen[x.EventID], "%s has the id of %s", pair, seen[x.EventID])
		seen[x.EventID] = pair
		if x.UserID == "a" && x.ItemID == "b" {
			require.Equal(
				t, "a/b/1700000000", x.EventID, "ids without a slash are what they were",
			)
		}
	}
	require.Len(t, seen, len(ids)*len(ids))
}

func TestOneRowWithoutATimeMovesNoOther(t *testing.T) {
	t.Parallel()
	const csv = "user,item,timestamp,value\nu,i,1700000000,5\nu,j,%s,4\nu,k,1700000100,3\n" +
		"v,i,1600000000,1\n"
	for _, c := range []struct{ name, file, content string }{
		{"empty", "x.csv", strings.Replace(csv, "%s", "", 1)},
		{"zero", "x.csv", strings.Replace(csv, "%s", "0", 1)},
		{"minus one", "x.csv", strings.Replace(csv, "%s", "-1", 1)},
		{"a day", "x.csv", strings.Replace(csv, "%s", "1970-01-01", 1)},
		{"an hour", "x.csv", strings.Replace(csv, "%s", "1970-01-01 01:00:00", 1)},
		{"NULL", "x.csv", strings.Replace(csv, "%s", "NULL", 1)},
		{"nan", "x.csv", strings.Replace(csv, "%s", "nan", 1)},
		{"MySQL", "x.csv", strings.Replace(csv, "%s", "0000-00-00 00:00:00", 1)},
		{"1956", "x.csv", strings.Replace(csv, "%s", "1956-03-01", 1)},
		{
			"ml-100k", "u.data",
			"u\ti\t5\t1700000000\nu\tj\t4\t0\nu\tk\t3\t1700000100\nv\ti\t1\t1600000000\n",
		},
		{
			"ml-1m", "ratings.dat",
			"u::i::5::1700000000\nu::j::4::0\nu::k::3::1700000100\nv::i::1::1600000000\n",
		},
		{
			"ml-latest", "ratings.csv",
			"userId,movieId,rating,timestamp\nu,i,5,1700000000\nu,j,4,0\nu,k,3,1700000100\n" +
				"v,i,1,1600000000\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := one(t, c.file, c.content)
			require.Zero(t, d.Shift())
			require.Equal(t, 1, imputed(d))
			var timed []string
			for x := range d.Interactions() {
				require.Equal(t, schemas.Rate, x.Action)
				if x.ItemID != "j" {
					timed = append(timed, fmt.Sprint(x.UserID, x.ItemID, x.OccurredAt.Unix()))
					require.Empty(t, x.Context)
					continue
				}
				require.Equal(t, datasets.ContextTimeImputed, x.Context[datasets.ContextTime])
				require.InDelta(t, 1700000050, x.OccurredAt.Unix(), 50, "within u's period")
				require.InDelta(t, 4, *x.Value, 0, "its rating stays")
			}
			require.Equal(t, []string{"vi1600000000", "ui1700000000", "uk1700000100"}, timed)
			only := openDataset(t, datasets.Config{
				Path:      folder(t, map[string]string{c.file: c.content}),
				TimedOnly: true,
			})
			require.Equal(t, 3, only.Len())
			require.Zero(t, imputed(only))
		})
	}
	t.Run("most rows", func(t *testing.T) {
		t.Parallel()
		d := one(t, "x.csv", "user,item,timestamp\nu,i,0\nu,j,0\nv,k,0\nv,l,1700000000\n")
		require.Zero(t, d.Shift())
		require.Equal(t, 3, imputed(d))
		require.Equal(t, time.Unix(1700000000, 0).UTC(), d.Start())
		require.Equal(t, d.Start(), d.End())
		only := openDataset(t, datasets.Config{
			Path: folder(t, map[string]string{
				"x.csv": "user,item,timestamp\nu,i,0\nu,j,0\nv,k,0\nv,l,1700000000\n",
			}),
			TimedOnly: true,
		})
		require.Equal(t, 1, only.Len())
		require.Equal(t, 1, only.UserCount())
	})
	t.Run("ordinals still begin in 2000", func(t *testing.T) {
		t.Parallel()
		d := one(t, "x.csv", "user,item,timestamp\nu,i,0\nu,j,1\nu,k,\nu,l,200000\n")
		require.Equal(t, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), d.Start())
		require.Equal(t, 200000*time.Second, d.End().Sub(d.Start()))
		require.Equal(t, 1, imputed(d), "one without a number")
	})
	t.Run("no row", func(t *testing.T) {
		t.Parallel()
		_, err := datasets.Open(t.Context(), datasets.Config{
			Path: folder(t, map[string]string{"x.csv": "user,item,timestamp\nu,i,\nu,j,NULL\n"}),
		})
		require.ErrorContains(t, err, "no row has a time")
	})
}

func TestOneValueThatIsNoneChangesNoOther(t *testing.T) {
	t.Parallel()
	d := one(
		t, "x.csv",
		"user,item,timestamp,rating\nu,i,1700000000,5\nu,j,1700000001,-1\nu,k,1700000002,1\n",
	)
	require.Equal(
		t,
		[]string{"1700000000 u i rate 5", "1700000001 u j watch -", "1700000002 u k rate 1"},
		lines(d),
	)
}

func TestSpreadsheetDialects(t *testing.T) {
	t.Parallel()
	want := []string{"1700000000 u i watch -", "1700000001 u j watch -"}
	const rows = "user,item,timestamp\nu,i,1700000000\nu,j,1700000001\n"
	quoted := "\"user\",\"item\",\"timestamp\"\r\n\"u\",\"i\",\"1700000000\"\r\n" +
		"\"u\",\"j\",\"1700000001\"\r\n"
	for name, content := range map[string]string{
		"byte order mark":                         "\ufeff" + rows,
		"byte order mark and quotes":              "\ufeff" + quoted,
		"byte order mark, quotes and semicolons":  "\ufeff" + strings.ReplaceAll(quoted, ",", ";"),
		"tabs":                                    strings.ReplaceAll(rows, ",", "\t"),
		"byte order mark, spaces, no end of line": "\ufeff" + strings.TrimSpace(rows),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, lines(one(t, "x.csv", content)))
		})
	}
	t.Run("the items file and MovieLens", func(t *testing.T) {
		t.Parallel()
		const (
			ratings = "\ufeff\"userId\",\"movieId\",\"rating\",\"timestamp\"\n1,2,3,1100000000\n"
			movies  = "\ufeff\"movieId\",\"title\",\"genres\"\n\"2\",\"T (1990)\",\"A|B\"\n"
		)
		dir := folder(t, map[string]string{
			"ratings.csv": ratings, "movies.csv": movies,
			"items": "\ufeff\"item_id\";\"directors\"\n\"2\";\"Ida Marsh\"\n",
		})
		d := openDataset(
			t, datasets.Config{Path: dir, Items: filepath.Join(dir, "items")},
		)
		require.Equal(t, datasets.MLLatest, d.Format())
		x := slices.Collect(d.Items())[0]
		require.Equal(t, "T (1990)", x.Title)
		require.Equal(t, []string{"A", "B"}, x.Genres)
		require.Equal(t, []string{"Ida Marsh"}, x.Directors)
	})
	t.Run("lines", func(t *testing.T) {
		t.Parallel()
		d := openDataset(t, datasets.Config{Path: folder(t, map[string]string{
			"u.data": "\ufeff1\t2\t3\t880000100\r\n", "u.item": "\ufeff2|T|01-Jan-1990||\r\n",
		})})
		require.Equal(t, []string{"880000100 1 2 rate 3"}, lines(d))
		require.Equal(t, "2", slices.Collect(d.Items())[0].ItemID)
	})
}

func TestErrorsAreNotSwallowed(t *testing.T) {
	t.Parallel()
	const viewed = "user,item,timestamp\nu,i,1700000000\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(viewed))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	cases := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{
			"several files could be meant",
			map[string]string{"a.csv": viewed, "b.csv": viewed},
			[]string{`several CSV files`, `["a.csv" "b.csv"]; give the path of one`},
		},
		{
			"each file lacks something",
			map[string]string{"a.csv": "user,item\n", "b.csv": "x,y\n", "c.txt": viewed},
			[]string{`a.csv: the header is ["user" "item"]`, `b.csv: the header is ["x" "y"]`},
		},
		{
			"not gzip",
			map[string]string{"x.csv.gz": viewed},
			[]string{"unpack x.csv.gz: gzip: invalid header"},
		},
		{
			"gzip that ends early",
			map[string]string{"x.csv.gz": packed.String()[:20]},
			[]string{"x.csv.gz", "unexpected EOF"},
		},
		{
			"MovieLens without a column",
			map[string]string{"ratings.csv": "userId,movieId,rating\n1,2,3\n"},
			[]string{`ratings.csv: the header is ["userId" "movieId" "rating"]`},
		},
		{
			"UTF-16",
			map[string]string{"x.csv": "\xff\xfeu\x00s\x00"},
			[]string{"x.csv is UTF-16: save it as UTF-8"},
		},
		{
			"a quote that is not closed",
			map[string]string{
				"x.csv": "user,item,timestamp,note\nu,i,1700000000,\"oh\nu,j,1700000001,no\n",
			},
			[]string{"x.csv, line 2: field 4 holds a line break: is a quote not closed?"},
		},
		{
			"a quote in a title",
			map[string]string{
				"ratings.csv": "userId,movieId,rating,timestamp\n1,2,3,1100000000\n",
				"movies.csv":  "movieId,title,genres\n2,\"T (1990),Drama\n3,U (1991),Drama\n",
			},
			[]string{"movies.csv, line 2", "is a quote not closed?"},
		},
		{
			"an endless line",
			map[string]string{"u.data": "1\t2\t3\t880000100\n" +
				strings.Repeat("x", 1<<20+1)},
			[]string{"u.data, line 2: bufio.Scanner: token too long"},
		},
		{
			"a first line that is no header",
			map[string]string{"user_artists.dat": "2\t51\tx\n2\t52\t11690\n"},
			[]string{"user_artists.dat, line 1"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := datasets.Open(t.Context(), datasets.Config{Path: folder(t, c.files)})
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// What the documents of the data sets, or their readers, say of each.
func TestOdditiesOfTheDataSets(t *testing.T) {
	t.Parallel()
	t.Run("MovieLens 100k", func(t *testing.T) {
		t.Parallel()
		d := openDataset(t, datasets.Config{Path: folder(t, map[string]string{
			"u.data":  "1\t267\t3\t880000100\n",
			"u.genre": "unknown|0\nAction|1\n\n", // an empty line at the end
			// Film 267 has neither a date nor an address.
			"u.item": "267|unknown||||1|0\n268|L\xe9on (1994)|01-Jan-1994||http://x|0|1\n",
			"u.user": "1|24|M|technician|85711\n",
		})})
		items := slices.Collect(d.Items())
		require.Equal(t, "unknown", items[0].Title)
		require.True(t, items[0].PublishedAt.IsZero())
		require.Empty(t, items[0].Genres)
		require.Equal(t, "Léon (1994)", items[1].Title)
		require.Equal(t, []string{"Action"}, items[1].Genres)
	})
	t.Run("MovieLens 10M", func(t *testing.T) {
		t.Parallel()
		d := openDataset(t, datasets.Config{Tags: true, Path: folder(t, map[string]string{
			"ratings.dat": "1::122::4.5::838985046\n1::7::0.5::838983525\n",
			"movies.dat": "122::Boomerang (1992)::Comedy|Romance\n" +
				"7::CSI:: Las Vegas (2000)::Drama\n",
			"tags.dat": "15::122::a::b::1215184630\n15::122::Classic!::1215184631\n",
		})})
		require.Equal(t, []string{"838983525 1 7 rate 0.5", "838985046 1 122 rate 4.5"}, lines(d))
		items := slices.Collect(d.Items())
		require.Equal(t, []string{"a::b", "classic!"}, items[0].Tags)
		require.Equal(t, "CSI:: Las Vegas (2000)", items[1].Title)
		require.Equal(t, []string{"Drama"}, items[1].Genres)
		require.Empty(t, slices.Collect(d.Users()), "it has no users.dat")
	})
	t.Run("MovieLens latest", func(t *testing.T) {
		t.Parallel()
		d := openDataset(t, datasets.Config{Tags: true, Path: folder(t, map[string]string{
			"ratings.csv": "userId,movieId,rating,timestamp\r\n2,1,5.0,1100000200\r\n" +
				"1,1,0.5,1100000100\r\n",
			"movies.csv": "movieId,title,genres\r\n" +
				"1,\"Fuga, La \"\"Rapida\"\" (1964) \",(no genres listed)\r\n" +
				"2,Babylon 5,Sci-Fi\r\n3,\"Death Note (2006–2007)\",(no genres listed)\r\n",
			"tags.csv": "userId,movieId,tag,timestamp\r\n1,1,\"\"\"quoted\"\" tag\",1100000300\r\n",
		})})
		require.Equal(t, []string{"1100000100 1 1 rate 0.5", "1100000200 2 1 rate 5"}, lines(d))
		items := slices.Collect(d.Items())
		require.Equal(t, `Fuga, La "Rapida" (1964)`, items[0].Title)
		require.Equal(t, 1964, items[0].PublishedAt.Year())
		require.Empty(t, items[0].Genres)
		require.Equal(t, []string{`"quoted" tag`}, items[0].Tags)
		require.True(t, items[1].PublishedAt.IsZero())
		require.True(t, items[2].PublishedAt.IsZero())
	})
	t.Run("MovieLens 20M from Kaggle", func(t *testing.T) {
		t.Parallel()
		d := openDataset(t, datasets.Config{Tags: true, Path: folder(t, map[string]string{
			"rating.csv": "\"userId\",\"movieId\",\"rating\",\"timestamp\"\n" +
				"1,2,3.5,\"2005-04-02 23:53:47\"\n",
			"movie.csv": "\"movieId\",\"title\",\"genres\"\n2,\"Jumanji (1995)\",\"Adventure\"\n",
			"tag.csv": "\"userId\",\"movieId\",\"tag\",\"timestamp\"\n" +
				"18,2,\"Robin\",\"2009-04-24 18:19:40\"\n",
		})})
		require.Equal(t, datasets.MLLatest, d.Format())
		require.Equal(t, []string{"1112486027 1 2 rate 3.5"}, lines(d))
		require.Equal(t, []string{"robin"}, slices.Collect(d.Items())[0].Tags)
	})
	t.Run("HetRec Last.fm", func(t *testing.T) {
		t.Parallel()
		d := openDataset(t, datasets.Config{Tags: true, Path: folder(t, map[string]string{
			"user_artists.dat": "userID\tartistID\tweight\r\n2\t51\t13883\r\n3\t52\t1\r\n",
			// Times before Last.fm began, and an artist that nobody played.
			"user_taggedartists-timestamps.dat": "userID\tartistID\ttagID\ttimestamp\r\n" +
				"2\t51\t13\t-428720400000\r\n2\t51\t13\t1238536800000\r\n" +
				"2\t53\t14\t1238536900000\r\n",
			// Tag 14 is not listed, and the list is Latin-1.
			"tags.dat": "tagID\ttagValue\r\n13\tmusique fran\xe7aise\r\n",
			// Artist 52 is missing.
			"artists.dat": "id\tname\turl\tpictureURL\r\n" +
				"51\tDuran Duran\thttp://x\thttp://y\r\n",
			"user_friends.dat": "userID\tfriendID\r\n2\t3\r\n3\t2\r\n",
		})})
		require.Equal(t, 3, d.Len())
		require.Equal(t, 1, imputed(d), "user 3 gave no tag")
		require.Equal(t, int64(1238536800), d.Start().Unix())
		items := slices.Collect(d.Items())
		require.Len(t, items, 1)
		require.Equal(t, []string{"musique française"}, items[0].Tags)
		require.Len(t, slices.Collect(d.Friendships()), 1)
	})
}
