package datasets_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// lines renders interactions for comparing: "seconds user item action value".
func lines(d *datasets.Dataset) []string {
	var out []string
	for x := range d.Interactions() {
		value := "-"
		if x.Value != nil {
			value = fmt.Sprint(*x.Value)
		}
		out = append(
			out,
			fmt.Sprintf("%d %s %s %s %s", x.OccurredAt.Unix(), x.UserID, x.ItemID, x.Action, value),
		)
	}
	return out
}

func openDataset(t *testing.T, c datasets.Config) *datasets.Dataset {
	t.Helper()
	d, err := datasets.Open(t.Context(), c)
	require.NoError(t, err)
	return d
}

func TestInteractionsInTimeOrder(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		path   string
		format datasets.Format
		want   []string
	}{
		{"ml-100k", "testdata/ml-100k", datasets.ML100K, []string{
			"880000100 8 1 rate 5", "880000200 7 1 rate 3", "880000200 8 3 rate 1",
			"880000200 9 2 rate 2", "880000300 7 2 rate 4",
		}},
		{"ml-100k by its main file", "testdata/ml-100k/u.data", datasets.ML100K, []string{
			"880000100 8 1 rate 5", "880000200 7 1 rate 3", "880000200 8 3 rate 1",
			"880000200 9 2 rate 2", "880000300 7 2 rate 4",
		}},
		{"ml-1m", "testdata/ml-1m", datasets.ML1M, []string{
			"960000000 2 10 rate 1", "970000000 1 10 rate 5", "970000060 1 11 rate 3",
			"970000060 2 12 rate 4",
		}},
		{"ml-latest", "testdata/ml-latest", datasets.MLLatest, []string{
			"1100000000 1 100 rate 4.5", "1100000100 2 100 rate 3", "1100000500 1 101 rate 0.5",
		}},
		{"csv", "testdata/csv", datasets.CSV, []string{
			"1700000000 ben x rate 2.5", "1700000000 anna x rate 5", "1700000000 anna x rate 5",
			"1700000010 anna song, one rate 4",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := openDataset(t, datasets.Config{Path: c.path})
			require.Equal(t, c.format, d.Format())
			require.Equal(t, c.want, lines(d))
			require.Equal(t, len(c.want), d.Len())
		})
	}
}

func TestHetRecGivesEveryPairATime(t *testing.T) {
	t.Parallel()
	d := openDataset(t, datasets.Config{Path: "testdata/hetrec-lastfm", Tags: true})
	require.Equal(t, datasets.HetRecLastFM, d.Format())

	timed, untimed := map[string]int64{}, map[string]int64{}
	var last time.Time
	for x := range d.Interactions() {
		require.Equal(t, schemas.Watch, x.Action)
		require.Nil(t, x.Value)
		require.False(t, x.OccurredAt.Before(last), "in time order")
		last = x.OccurredAt
		into := timed
		if x.Context[datasets.ContextTime] == datasets.ContextTimeImputed {
			into = untimed
		}
		into[x.UserID+"/"+x.ItemID] = x.OccurredAt.Unix()
	}
	// The time of the first tag; the tag from 1956 is no time at all.
	require.Equal(
		t, map[string]int64{"2/1": 1235862000, "3/1": 1254348000, "3/3": 1241128800}, timed,
	)
	require.ElementsMatch(t, []string{"2/2", "3/2", "4/3"}, keys(untimed))
	require.Equal(t, int64(1235862000), untimed["2/2"], "user 2 tagged at one time only")
	require.True(
		t, untimed["3/2"] >= 1241128800 && untimed["3/2"] <= 1254348000,
		"within the time in which user 3 tagged",
	)
	require.True(
		t, untimed["4/3"] >= 1235862000 && untimed["4/3"] <= 1254348000,
		"user 4 never tagged: everybody's time",
	)

	var friends []string
	for f := range d.Friendships() {
		friends = append(friends, f.UserID+"-"+f.FriendID)
		require.NoError(t, f.Validate())
	}
	require.Equal(t, []string{"2-3", "2-10"}, friends, "each pair once, ids as numbers")

	items := slices.Collect(d.Items())
	require.Equal(t, "Björn Utan Vind", items[1].Title)
	require.Equal(t, []string{"ambient", "post rock"}, items[0].Tags)
	require.Equal(t, []string{"folké"}, items[2].Tags)

	only := openDataset(t, datasets.Config{Path: "testdata/hetrec-lastfm", TimedOnly: true})
	require.Equal(t, 3, only.Len())
	for x := range only.Items() {
		require.Empty(t, x.Tags, "tags tell the future")
	}
}

func TestItems(t *testing.T) {
	t.Parallel()
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }

	d := openDataset(t, datasets.Config{Path: "testdata/ml-100k"})
	items := slices.Collect(d.Items())
	require.Len(t, items, 3)
	require.Equal(t, "The Paper Moon Heist (1994)", items[0].Title)
	require.Equal(t, []string{"Action", "Comedy"}, items[0].Genres)
	require.Equal(t, year(1994), items[0].PublishedAt)
	require.Equal(t, "Café Étoile (1938)", items[1].Title, "Latin-1 becomes UTF-8")
	require.Empty(t, items[2].Genres, "unknown is no genre")
	users := slices.Collect(d.Users())
	require.Len(t, users, 3)
	require.Equal(
		t, schemas.Attributes{"age": 24.0, "gender": "F", "occupation": "engineer"},
		users[0].Attributes,
	)

	d = openDataset(t, datasets.Config{Path: "testdata/ml-1m", Items: "testdata/items.csv"})
	items = slices.Collect(d.Items())
	require.Len(t, items, 4)
	require.Equal(t, []string{"Drama", "Noir"}, items[0].Genres, "the items file replaces")
	require.Equal(t, []string{"Ida Marsh"}, items[0].Directors)
	require.Equal(t, []string{"Tom Oake", "Lena Fry"}, items[0].Actors)
	require.Equal(t, "La Rivière (1999)", items[1].Title)
	require.Equal(t, []string{"Action"}, items[1].Genres, "what it does not name stays")
	require.Equal(t, "99", items[3].ItemID, "and it adds")
	bare := slices.Collect(openDataset(t, datasets.Config{Path: "testdata/ml-1m"}).Items())
	require.NotEqual(
		t, bare[0].EventID, items[0].EventID,
		"what says more is another event, or it would be dropped as a repeat",
	)
	require.Equal(t, bare[1].Title, items[1].Title)

	d = openDataset(t, datasets.Config{Path: "testdata/ml-latest", Tags: true})
	items = slices.Collect(d.Items())
	require.Equal(t, "Clockmaker, The (2003)", items[0].Title)
	require.Equal(t, []string{"slow burn", "clocks"}, items[0].Tags)
	require.Empty(t, items[1].Genres)
}

func TestMessagesAreValidAndRepeatable(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"ml-100k", "ml-1m", "ml-latest", "hetrec-lastfm", "csv"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			read := func() []record.Record {
				d := openDataset(
					t, datasets.Config{Path: filepath.Join("testdata", path), Tags: true},
				)
				ms := slices.Collect(d.Messages())
				require.Len(t, ms, d.Total())
				return ms
			}
			first := read()
			require.Equal(t, first, read(), "the same messages, ids and all, at every reading")
			ids := map[string]bool{}
			for _, m := range first {
				r := record.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers}
				require.NoError(t, decode(&r))
				id := m.Topic + " " + r.Header(
					schemas.HeaderSource,
				) + " " + r.Header(
					schemas.HeaderID,
				)
				require.False(t, ids[id], "%s comes twice", id)
				ids[id] = true
			}
		})
	}
}

func decode(r *record.Record) error {
	var err error
	switch r.Topic {
	case schemas.TopicInteractions:
		_, err = schemas.DecodeInteraction(r)
	case schemas.TopicFriendships:
		_, err = schemas.DecodeFriendship(r)
	case schemas.TopicItems:
		_, err = schemas.DecodeItem(r)
	case schemas.TopicUsers:
		_, err = schemas.DecodeUser(r)
	default:
		err = fmt.Errorf("topic %s", r.Topic)
	}
	return err
}

func TestZipAndGzipReadAsFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "ml-1m.zip")
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	put := func(name string, content []byte) {
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = w.Write(content)
		require.NoError(t, err)
	}
	for _, name := range []string{"movies.dat", "ratings.dat", "users.dat"} {
		content, err := os.ReadFile(filepath.Join("testdata/ml-1m", name))
		require.NoError(t, err)
		put("__MACOSX/"+name, []byte("not data"))
		put("ml-1m/"+name, content)
	}
	require.NoError(t, z.Close())
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	require.Equal(
		t, lines(openDataset(t, datasets.Config{Path: "testdata/ml-1m"})),
		lines(openDataset(t, datasets.Config{Path: path})),
	)

	content, err := os.ReadFile("testdata/csv/events.csv")
	require.NoError(t, err)
	b.Reset()
	g := gzip.NewWriter(&b)
	_, err = g.Write(content)
	require.NoError(t, err)
	require.NoError(t, g.Close())
	path = filepath.Join(dir, "events.csv.gz")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	require.Equal(
		t, lines(openDataset(t, datasets.Config{Path: "testdata/csv"})),
		lines(openDataset(t, datasets.Config{Path: path})),
	)
}

func TestCSVDialects(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, content string
		want          []string
	}{
		{"no value", "user,item,timestamp\nu,i,1700000000\n", []string{"1700000000 u i watch -"}},
		{
			"ones", "user,item,timestamp,value\nu,i,1700000000,1\nu,j,1700000001,1\n",
			[]string{"1700000000 u i watch -", "1700000001 u j watch -"},
		},
		{
			"counts", "user,item,timestamp,value\nu,i,1700000000,1\nu,j,1700000001,300\n",
			[]string{"1700000000 u i watch -", "1700000001 u j watch -"},
		},
		{
			"ten stars", "user,item,timestamp,value\nu,i,1700000000,0\nu,j,1700000001,9\n",
			[]string{"1700000000 u i rate 0.5", "1700000001 u j rate 4.5"},
		},
		{
			"milliseconds", "user,item,timestamp\nu,i,1700000000123\n",
			[]string{"1700000000 u i watch -"},
		},
		{
			"fractions",
			"user,item,timestamp\nu,i,1700000000.5\n",
			[]string{"1700000000 u i watch -"},
		},
		{
			"dates", "user,item,timestamp\nu,i,2023-11-14T22:13:20Z\n",
			[]string{"1700000000 u i watch -"},
		},
		{
			"ordinals", "user,item,timestamp\nu,j,2\nu,i,1\n",
			[]string{"946684800 u i watch -", "946684801 u j watch -"},
		},
		{
			"byte order mark, other names",
			"\ufeffuser_id,item_id,time,rating\nu,i,1700000000,5\nu,j,1700000000,\n" +
				"u,k,1700000000,1\n",
			[]string{"1700000000 u i rate 5", "1700000000 u j watch -", "1700000000 u k rate 1"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.csv")
			require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
			require.Equal(t, c.want, lines(openDataset(t, datasets.Config{Path: path})))
		})
	}
}

func TestErrorsSayWhereAndWhat(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, file, content, want string }{
		{"nothing known", "notes.txt", "hello", "not recognised"},
		{"no such column", "x.csv", "a,b\n1,2\n", "not recognised"},
		{"bad rating", "u.data", "1\t1\t3\t1\n1\t1\t9\t1\n", "u.data, line 2: rating \"9\""},
		{
			"bad time", "x.csv", "user,item,timestamp\nu,i,yesterday\n",
			"x.csv, line 2: timestamp \"yesterday\"",
		},
		{"short line", "ratings.dat", "1::2::3\n", "ratings.dat, line 1: 3 fields"},
		{
			"far future", "u.data", "1\t1\t3\t99999999999\n",
			"u.data, line 1: timestamp \"99999999999\"",
		},
		{
			"no time at all", "x.csv", "user,item,timestamp\nu,i,-9223372036854775808\n",
			"x.csv, line 2: timestamp",
		},
		{
			"a span of ages", "x.csv", "user,item,timestamp\nu,i,-4000000000\nu,i,4000000000\n",
			"the times span",
		},
		{
			"empty id", "x.csv", "user,item,timestamp\n,i,1700000000\n",
			"x.csv, line 2: \"user_id\" is missing",
		},
		{"empty", "x.csv", "user,item,timestamp\n", "no interactions"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, c.file), []byte(c.content), 0o600))
			_, err := datasets.Open(t.Context(), datasets.Config{Path: dir})
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := datasets.Open(t.Context(), datasets.Config{Path: "testdata/nowhere"})
	require.ErrorIs(t, err, fs.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = datasets.Open(ctx, datasets.Config{Path: "testdata/csv"})
	require.ErrorIs(t, err, context.Canceled)
}

// FuzzOpen reads any bytes as each format: it must not panic, and what it reads must be valid
// events in time order.
func FuzzOpen(f *testing.F) {
	names := []string{"u.data", "ratings.dat", "ratings.csv", "user_artists.dat", "x.csv"}
	for i, path := range []string{
		"ml-100k/u.data", "ml-1m/ratings.dat", "ml-latest/ratings.csv",
		"hetrec-lastfm/user_artists.dat", "csv/events.csv",
	} {
		content, err := os.ReadFile(filepath.Join("testdata", path))
		require.NoError(f, err)
		f.Add(i, content, content)
	}
	f.Fuzz(func(t *testing.T, i int, content, beside []byte) {
		dir := t.TempDir()
		require.NoError(
			t, os.WriteFile(filepath.Join(dir, names[uint(i)%uint(len(names))]), content, 0o600),
		)
		for _, name := range []string{
			"u.item", "movies.dat", "movies.csv", "user_taggedartists-timestamps.dat",
			"artists.dat", "tags.dat",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), beside, 0o600))
		}
		d, err := datasets.Open(t.Context(), datasets.Config{Path: dir, Tags: true})
		if err != nil {
			return
		}
		var last time.Time
		for x := range d.Interactions() {
			require.NoError(t, x.Validate())
			require.False(t, x.OccurredAt.Before(last))
			last = x.OccurredAt
		}
		for x := range d.Items() {
			require.NoError(t, x.Validate())
		}
	})
}

// TestDownloaded reads the real data sets where they are at hand.
func TestDownloaded(t *testing.T) {
	root := os.Getenv("DATASETS")
	if root == "" {
		t.Skip("DATASETS is not set: want a folder with ml-100k and ml-1m")
	}
	d := openDataset(t, datasets.Config{Path: filepath.Join(root, "ml-100k")})
	require.Equal(t, 100_000, d.Len())
	require.Equal(t, 943, d.UserCount())
	require.Len(t, slices.Collect(d.Items()), 1682)

	started := time.Now()
	d = openDataset(
		t,
		datasets.Config{
			Path:  filepath.Join(root, "ml-1m", "ml-1m.zip"),
			Items: filepath.Join(root, "ml-1m", "items.csv"),
		},
	)
	t.Logf("ml-1m opened in %s", time.Since(started))
	require.Equal(t, 1_000_209, d.Len())
	require.Equal(t, 6040, d.UserCount())
	people := 0
	for x := range d.Items() {
		require.NoError(t, x.Validate())
		people += len(x.Directors) + len(x.Actors)
	}
	require.Greater(t, people, 3000)
	ids := map[string]struct{}{}
	for x := range d.Interactions() {
		ids[x.EventID] = struct{}{}
	}
	require.Len(t, ids, d.Len())
}

func keys(m map[string]int64) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

func ExampleOpen() {
	d, err := datasets.Open(context.Background(), datasets.Config{Path: "testdata/ml-100k"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for x := range d.Interactions() {
		fmt.Println(x.OccurredAt.Format(time.DateTime), x.UserID, x.Action, x.ItemID, *x.Value)
	}
	// Output:
	// 1997-11-20 04:28:20 8 rate 1 5
	// 1997-11-20 04:30:00 7 rate 1 3
	// 1997-11-20 04:30:00 8 rate 3 1
	// 1997-11-20 04:30:00 9 rate 2 2
	// 1997-11-20 04:31:40 7 rate 2 4
}
