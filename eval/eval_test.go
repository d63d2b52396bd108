package eval_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-rec/slipstream/eval"
	"github.com/slipstream-rec/slipstream/model"
)

// audience makes a stream in which users of two tastes walk along chains of items: there is
// something to learn, and order matters.
func audience(users, items, events int) *eval.Data {
	d, r := &eval.Data{}, rand.New(rand.NewPCG(1, 1))
	at := make([]int, users)
	taken := make([]map[int]bool, users)
	for u := range users {
		at[u], taken[u] = r.IntN(items), map[int]bool{}
	}
	for n := range events {
		u := r.IntN(users)
		for taken[u][at[u]] {
			// even users go up, odd ones down
			at[u] = (at[u] + 2 - 4*(u%2) + 2*r.IntN(3) + items) % items
			if r.IntN(8) == 0 {
				at[u] = r.IntN(items)
			}
		}
		taken[u][at[u]] = true
		d.Events = append(
			d.Events,
			eval.Event{
				User: d.User(fmt.Sprint("u", u)), Item: d.Item(fmt.Sprint("i", at[u])),
				At: int64(1000 + n), Action: "watch",
			},
		)
	}
	return d
}

// fixed gives items fixed scores and checks that it is asked before it is taught.
type fixed struct {
	t      *testing.T
	scores []float32
	asked  int
	taught int
}

func (f *fixed) Name() string { return "fixed" }

func (f *fixed) Score(_ int32, out []float32) {
	if f.asked++; f.asked > f.taught+1 {
		f.t.Errorf("asked %d times after %d events", f.asked, f.taught)
	}
	copy(out, f.scores)
}

func (f *fixed) Learn(eval.Event, uint64) { f.taught++ }

func TestPrequentialByHand(t *testing.T) {
	t.Parallel()
	d := &eval.Data{}
	for n, x := range []string{"ann a", "bob b", "ann c", "bob a", "ann b", "cid a", "ann a"} {
		user, item, _ := strings.Cut(x, " ")
		d.Events = append(
			d.Events,
			eval.Event{User: d.User(user), Item: d.Item(item), At: int64(n), Action: "view"},
		)
	}
	// Scores: a 3, b 2, c 1. Ranks: ann a: nowhere; bob b: nowhere; ann c: nowhere; bob a: 1st of
	// a, c; ann b: 1st of b (a and c are taken); cid a: 1st; ann a: taken before.
	m := &fixed{t: t, scores: []float32{3, 2, 1}}
	r, err := eval.Prequential(context.Background(), d, m, eval.Options{K: 2})
	if err != nil {
		t.Fatal(err)
	}
	if r.Judged != 6 || r.Repeats != 1 || r.Recall != 0.5 || r.NDCG != 0.5 || r.MRR != 0.5 ||
		r.Coverage != 1 {
		t.Errorf("got %+v", r.Quality)
	}
	// The other way round: a 1, b 2, c 3. bob a: 2nd of c, a; ann b: 1st; cid a: 3rd of c, b, a.
	m = &fixed{t: t, scores: []float32{1, 2, 3}}
	r, err = eval.Prequential(context.Background(), d, m, eval.Options{K: 2})
	if err != nil {
		t.Fatal(err)
	}
	ndcg, mrr := (1/math.Log2(3)+1)/6, 1.5/6
	if math.Abs(r.Recall-2.0/6) > 1e-9 || math.Abs(r.NDCG-ndcg) > 1e-9 ||
		math.Abs(r.MRR-mrr) > 1e-9 {
		t.Errorf("got %+v, want recall %v, NDCG %v, MRR %v", r.Quality, 2.0/6, ndcg, mrr)
	}
}

// What people took, what they liked, and what they came to dislike are three figures.
func TestLikedAndDislikedByHand(t *testing.T) {
	t.Parallel()
	d := &eval.Data{}
	for n, x := range []struct {
		user, item string
		stars      float64
	}{
		{"bob", "a", 3}, {"bob", "b", 3}, {"bob", "c", 3}, // learned only
		{"ann", "a", 4},   // a first of a, b: liked, a hit; ann dislikes b later
		{"ann", "b", 2},   // b first of b, c: a hit, and disliked
		{"cid", "c", 5},   // a, b: liked, no hit; cid dislikes b later, not a
		{"cid", "a", 2.5}, // a first of a, b: a hit
		{"cid", "b", 0.5}, // b alone: a hit, and disliked
	} {
		d.Events = append(d.Events, eval.Event{
			User: d.User(x.user), Item: d.Item(x.item), At: int64(n), Action: "rate",
			Value: x.stars, Valued: true,
		})
	}
	m := &fixed{t: t, scores: []float32{3, 2, 1}}
	r, err := eval.Prequential(context.Background(), d, m, eval.Options{K: 2, Warmup: 3.0 / 8})
	if err != nil {
		t.Fatal(err)
	}
	// Lists: a b, b c, a b, a b, b. Their places with a later dislike: b, b, b, b, b.
	if r.Judged != 5 || r.Recall != 0.8 || r.Liked != 2 || r.LikedRecall != 0.5 ||
		math.Abs(r.DislikedShare-5.0/9) > 1e-9 {
		t.Errorf("got %+v", r.Quality)
	}
	// An event without stars is neither, whatever its value.
	for n := range d.Events {
		d.Events[n].Action = "purchase"
	}
	m = &fixed{t: t, scores: []float32{3, 2, 1}}
	r, err = eval.Prequential(context.Background(), d, m, eval.Options{K: 2, Warmup: 3.0 / 8})
	if err != nil {
		t.Fatal(err)
	}
	if r.Recall != 0.8 || r.Liked != 0 || r.LikedRecall != 0 || r.DislikedShare != 0 {
		t.Errorf("got %+v", r.Quality)
	}
}

func TestListsAreWhatAnOutsideJudgeSees(t *testing.T) {
	t.Parallel()
	d := audience(60, 80, 2500)
	for _, name := range []string{"model", "full", "markov"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "lists.csv")
			report, err := eval.Run{
				Name: "audience", Data: d, Setup: eval.DefaultSetup(d), Methods: []string{name},
				ListsFile: file,
			}.Do(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			rows, err := csv.NewReader(f).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			hits := 0
			taken := map[string]map[string]bool{}
			for n, row := range rows[1:] {
				list := strings.Fields(row[3])
				if len(list) > 10 {
					t.Fatalf("row %d: %d items", n, len(list))
				}
				for _, i := range list {
					if taken[row[0]][i] {
						t.Fatalf("row %d: %s is offered %s again", n, row[0], i)
					}
				}
				if slices.Contains(list, row[1]) {
					hits++
				}
				if taken[row[0]] == nil {
					taken[row[0]] = map[string]bool{}
				}
				taken[row[0]][row[1]] = true
			}
			got := report.Prequential[0]
			if len(rows)-1 != got.Judged ||
				math.Abs(float64(hits)/float64(got.Judged)-got.Recall) > 1e-9 {
				t.Errorf(
					"%d lists with %d hits, reported %d and %v", len(rows)-1, hits, got.Judged,
					got.Recall,
				)
			}
		})
	}
}

func TestModelLearnsWhatIsThere(t *testing.T) {
	t.Parallel()
	d := audience(200, 150, 12_000)
	recall := map[string]float64{}
	report, err := eval.Run{
		Data: d, Setup: eval.DefaultSetup(d), Methods: eval.Methods(),
		Options: eval.Options{Warmup: 0.2, Sample: 0.3},
	}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for n, r := range report.Prequential {
		recall[eval.Methods()[n]] = r.Recall
	}
	if recall["model"] < 2*recall["popularity"] || recall["model"] < 2*recall["bpr"] ||
		recall["model"] < 0.9*recall["markov"] {
		t.Errorf(
			"recall %v: the model should be far above popularity and BPR, and near transitions, "+
				"in which the data was made",
			recall,
		)
	}
	if recall["full"] < 0.95*recall["model"] {
		t.Errorf("recall %v: blending costs more than 5 %%", recall)
	}
}

// With items dealt to events at random nothing can be learned but popularity: whoever finds more
// has looked ahead.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	d, r := audience(200, 150, 12_000), rand.New(rand.NewPCG(2, 2))
	r.Shuffle(
		len(d.Events),
		func(i, j int) { d.Events[i].Item, d.Events[j].Item = d.Events[j].Item, d.Events[i].Item },
	)
	report, err := eval.Run{
		Data: d, Setup: eval.DefaultSetup(d), Methods: []string{"model", "popularity"},
		Options: eval.Options{Warmup: 0.2},
	}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if m, p := report.Prequential[0].Recall, report.Prequential[1].Recall; m > p+0.02 {
		t.Errorf("recall %v on shuffled items, popularity has %v", m, p)
	}
}

func TestSpreadOutIsTheSameModel(t *testing.T) {
	t.Parallel()
	d := audience(200, 150, 8_000)
	s := eval.DefaultSetup(d)
	s.Lag = eval.Lag{Partitions: 1, Window: 1}
	report, err := eval.Run{
		Data: d, Setup: s, Methods: []string{"model", "lagged"}, Options: eval.Options{Warmup: 0.2},
	}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := report.Prequential[0].Recall, report.Prequential[1].Recall; math.Abs(a-b) > 0.01 {
		t.Errorf("recall %v at once, %v through messages of one event", a, b)
	}
}

func TestSameStreamSameReport(t *testing.T) {
	t.Parallel()
	d := audience(50, 60, 1500)
	first := ""
	for range 2 {
		report, err := eval.Run{Data: d, Setup: eval.DefaultSetup(d)}.Do(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, r := range report.Prequential {
			fmt.Fprintln(&b, r.Method, r.Quality, r.Windows, r.Coverage)
		}
		if first == "" {
			first = b.String()
		} else if b.String() != first {
			t.Errorf("second run:\n%s\nfirst:\n%s", b.String(), first)
		}
	}
}

func TestContentCarriesNewItems(t *testing.T) {
	t.Parallel()
	// Every item belongs to one of four genres, users keep to a genre, and new items appear all the
	// time. Of two items that nobody has taken, the one of the user's genre must stand higher.
	const users, future = 200, 40
	d, r := &eval.Data{}, rand.New(rand.NewPCG(3, 3))
	add := func(item int) int32 {
		i := d.Item(fmt.Sprint(item))
		d.SetFeatures(i, []string{fmt.Sprint("genre:", item%4)})
		return i
	}
	for n := range 6000 {
		u := r.IntN(users)
		d.Events = append(
			d.Events,
			eval.Event{
				User: d.User(fmt.Sprint(u)), Item: add((n/40+r.IntN(40))*4 + u%4), At: int64(n),
				Action: "view",
			},
		)
	}
	first := len(d.Items)
	for item := range future {
		add(1_000_000 + item)
	}
	m := eval.NewBare(d, model.Default())
	for n, e := range d.Events {
		m.Learn(e, uint64(n))
	}
	right, pairs := 0, 0
	scores := make([]float32, len(d.Items))
	for u := range int32(users) {
		var genre int
		_, _ = fmt.Sscan(d.Users[u], &genre)
		m.Score(u, scores)
		for a := range future {
			for b := range future {
				if a%4 == genre%4 && b%4 != genre%4 {
					pairs++
					if scores[first+a] > scores[first+b] {
						right++
					}
				}
			}
		}
	}
	if share := float64(right) / float64(pairs); share < 0.8 {
		t.Errorf(
			"%.2f of %d pairs of new items are in the right order; by chance half would be", share,
			pairs,
		)
	}
}

func TestLeaveOneOut(t *testing.T) {
	t.Parallel()
	d := audience(200, 150, 12_000)
	dir := t.TempDir()
	var train, test, negatives bytes.Buffer
	last := map[int32]eval.Event{}
	for _, e := range d.Events {
		if l, ok := last[e.User]; ok {
			fmt.Fprintf(&train, "%d\t%d\t5\t%d\n", l.User, l.Item, l.At)
		}
		last[e.User] = e
	}
	for u := range int32(len(d.Users)) {
		e := last[u]
		fmt.Fprintf(&test, "%d\t%d\t4\t%d\n", e.User, e.Item, e.At)
		fmt.Fprintf(&negatives, "(%d,%d)", e.User, e.Item)
		for n := range int32(20) {
			fmt.Fprintf(&negatives, "\t%d", (e.Item+3+7*n)%150)
		}
		fmt.Fprintln(&negatives)
	}
	var paths []string
	for name, b := range map[string]*bytes.Buffer{
		"1train": &train, "2test": &test, "3negative": &negatives,
	} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	slices.Sort(paths)
	data, held, err := eval.ReadNCF(paths[0], paths[1], paths[2])
	if err != nil {
		t.Fatal(err)
	}
	if len(held) != 200 || len(held[0].Negatives) != 20 || len(data.Events) != 12_000-200 {
		t.Fatalf(
			"%d held out, %d negatives, %d events", len(held), len(held[0].Negatives),
			len(data.Events),
		)
	}
	report, err := eval.Run{
		Data: data, HeldOut: held, Setup: eval.DefaultSetup(data),
		Methods: []string{"model", "popularity"},
	}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m, p := report.LeaveOneOut[0], report.LeaveOneOut[1]
	if m.Full.Recall < 2*p.Full.Recall || m.AgainstNegatives.NDCG < 1.2*p.AgainstNegatives.NDCG ||
		m.Full.Recall > m.AgainstNegatives.Recall {
		t.Errorf("model %+v, popularity %+v", m, p)
	}
	if _, _, err := eval.ReadNCF(paths[0], paths[2], ""); err == nil {
		t.Error("a file of negatives was read as held-out items")
	}
}

func TestReportInAllForms(t *testing.T) {
	t.Parallel()
	d := audience(50, 60, 1500)
	chart := filepath.Join(t.TempDir(), "chart.svg")
	report, err := eval.Run{
		Name: "a < b", Data: d, Setup: eval.DefaultSetup(d), Methods: eval.Methods(),
		ChartFile: chart,
	}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var text, js bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Recall@10", "slipstream model", "counted Markov", "never seen", "over the stream",
		"50 users on 60 items",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, text.String())
		}
	}
	if err := report.WriteJSON(&js); err != nil {
		t.Fatal(err)
	}
	var back eval.Report
	if err := json.Unmarshal(js.Bytes(), &back); err != nil ||
		back.Prequential[0].Recall != report.Prequential[0].Recall {
		t.Errorf("JSON: %v", err)
	}
	svg, err := os.ReadFile(chart)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for x := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := x.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("chart is not XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != len(eval.Methods()) {
		t.Errorf("%d lines in the chart, want %d", lines, len(eval.Methods()))
	}
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	d := audience(5, 20, 50)
	for name, tc := range map[string]struct {
		run  eval.Run
		want string
	}{
		"unknown method": {
			eval.Run{Data: d, Methods: []string{"magic"}}, `method "magic" is unknown`,
		},
		"twice":  {eval.Run{Data: d, Methods: []string{"bpr", "bpr"}}, "named twice"},
		"sample": {eval.Run{Data: d, Options: eval.Options{Sample: 2}}, "sample is 2"},
		"empty":  {eval.Run{Data: &eval.Data{}}, "no events"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.run.Setup = eval.DefaultSetup(tc.run.Data)
			if _, err := tc.run.Do(context.Background()); err == nil ||
				!strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want %q", err, tc.want)
			}
		})
	}
}
