package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/qdrant"
)

// loadTask is one run of the load generator, in a process of its own.
type loadTask struct {
	Addr    string
	Clients int
	Seconds float64
	Users   []string
}

type loadResult struct {
	Requests int
	Seconds  float64
	Latency  []time.Duration // p50, p95, p99, longest
	CPU      float64
	Bad      int
	Personal int
	Example  string // of a wrong answer
}

// loadChild asks for lists over keep-alive connections, each client one request after the other.
func loadChild(ctx context.Context, in *json.Decoder) (any, error) {
	var task loadTask
	if err := in.Decode(&task); err != nil {
		return nil, err
	}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		all  []time.Duration
		out  loadResult
		errs []error
	)
	start, cpu := time.Now(), ownCPU()
	deadline := start.Add(time.Duration(task.Seconds * float64(time.Second)))
	for c := range task.Clients {
		wg.Go(func() {
			x, err := client(task, c, deadline)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, x.took...)
			out.Bad += x.Bad
			out.Personal += x.Personal
			out.Example = max(out.Example, x.Example)
			errs = append(errs, err)
		})
	}
	wg.Wait()
	out.Requests, out.Seconds, out.CPU = len(all), time.Since(start).Seconds(), ownCPU()-cpu
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.95, 0.99, 1} {
		out.Latency = append(out.Latency, quantile(all, q))
	}
	return out, errors.Join(errs...)
}

// answers are what one client got.
type answers struct {
	loadResult
	took []time.Duration
}

func client(task loadTask, seed int, deadline time.Time) (x answers, err error) {
	conn, err := net.Dial("tcp", task.Addr)
	if err != nil {
		return x, err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	rng := rand.New(rand.NewPCG(uint64(seed), 7))
	for time.Now().Before(deadline) {
		start := time.Now()
		if err := conn.SetDeadline(start.Add(10 * time.Second)); err != nil {
			return x, err
		}
		if _, err := fmt.Fprintf(
			conn, "GET /v1/users/%s/recommendations?n=10 HTTP/1.1\r\nHost: bench\r\n\r\n",
			task.Users[rng.IntN(len(task.Users))],
		); err != nil {
			return x, err
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return x, err
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return x, err
		}
		x.took = append(x.took, time.Since(start))
		// Ten items and none of the stores missing, or it does not count.
		text := string(body)
		if res.StatusCode != http.StatusOK || strings.Count(text, `"rank":`) != 10 ||
			!strings.Contains(text, `"degraded":[]`) {
			x.Bad++
			x.Example = res.Status + " " + text
		}
		if strings.Contains(text, `"strategy":"personal"`) {
			x.Personal++
		}
	}
	return x, nil
}

// servingUsers have a history when lists are asked for.
const servingUsers = 2000

// serving measures lists over REST.
func (b *bench) serving(ctx context.Context) (*section, error) {
	s := &section{Title: "Serving: top 10 over REST"}
	seconds := 8.0
	if b.o.smoke {
		seconds = 1
	}
	s.Notes = append(s.Notes, fmt.Sprintf("GET /v1/users/{id}/recommendations?n=10 for one of "+
		"%s users with a history, each client on one connection, one request after the other, "+
		"%v s; the load generator is a process on the same machine. "+
		"Every answer is checked: ten items, no store missing. Every list served is also "+
		"written to the log and by analytics into the analytics store, which is in our CPU time.",
		number(servingUsers, 0), seconds))
	t := table{
		Title: "REST top 10",
		Columns: []string{
			"engines, items, clients", "requests/s", "p50", "p95", "p99", "longest",
			"ours, CPU µs per request", "load generator, CPU µs per request", "wrong answers",
			"personal",
		},
	}
	c := chart{Title: "REST top 10, requests per second", Unit: "requests/s"}
	recalls := table{
		Title:   "Recall against exact search",
		Columns: []string{"engine, items", "recall@10", "queries"},
	}
	for _, real := range []bool{false, true} {
		if real && !b.engines.stores {
			s.Notes = append(s.Notes, "No real engines were named.")
			continue
		}
		sizes := []int{baseItems, b.o.manyItems}
		if b.o.smoke {
			sizes = sizes[1:]
		}
		for _, items := range sizes {
			if err := b.servingOn(ctx, real, items, seconds, &t, &c, &recalls); err != nil {
				if b.o.smoke || len(t.Rows) == 0 {
					return nil, err
				}
				b.say("  %v", err)
				s.Notes = append(
					s.Notes,
					fmt.Sprintf(
						"Not measured, real engines %t, %s items: %.300s", real,
						number(float64(items), 0), err.Error(),
					),
				)
			}
		}
	}
	s.Tables, s.Charts = []table{t, recalls}, []chart{c}
	s.Notes = append(
		s.Notes,
		"The embedded store scans every vector, so its recall is 1 by construction; Qdrant's is "+
			"measured on the vectors of 100 users, by score, without exclusions.",
	)
	return s, nil
}

func (b *bench) servingOn(
	ctx context.Context,
	real bool,
	items int,
	seconds float64,
	t *table,
	c *chart,
	recalls *table,
) error {
	kind := map[bool]string{true: "Qdrant", false: "embedded"}[real]
	in, err := b.start(ctx, fmt.Sprintf("serving %s %d", kind, items), real, nil)
	if err != nil {
		return err
	}
	defer in.stop()
	if err := in.ready(ctx); err != nil {
		return err
	}
	w := newWorld(5, servingUsers, items)
	w.everyone = true
	if err := in.warm(ctx, w, max(2000, min(2*servingUsers, b.o.backlog/4))); err != nil {
		return err
	}
	if err := in.trending(ctx); err != nil {
		return err
	}
	users := make([]string, servingUsers)
	for i := range users {
		users[i] = userID(i)
	}
	b.say("  %s, %d items: loaded", kind, items)
	if real {
		recall, n, err := b.recall(ctx, in)
		if err != nil {
			return err
		}
		recalls.add(
			fmt.Sprintf("%s, %s", kind, number(float64(items), 0)), number(recall, 4),
			number(float64(n), 0),
		)
		b.say("  recall@10 %.4f over %d users", recall, n)
		if recall < 0.9 {
			return fmt.Errorf("recall@10 is %.3f", recall)
		}
	}
	for _, clients := range []int{1, 8} {
		var r loadResult
		task := loadTask{Addr: in.http, Clients: clients, Seconds: seconds, Users: users}
		u, err := in.spend(
			func() int { return r.Requests },
			func() error { return inChild(ctx, "load", task, &r) },
		)
		if err != nil {
			return err
		}
		label := fmt.Sprintf("%s, %s, %d", kind, number(float64(items), 0), clients)
		b.say(
			"  %-28s %6.0f requests/s  p50 %v  p99 %v  ours %.0f µs  bad %d", label,
			float64(r.Requests)/r.Seconds, r.Latency[0], r.Latency[2], u.perEvent(u.ours), r.Bad,
		)
		if r.Requests == 0 || r.Bad*100 > r.Requests {
			return fmt.Errorf(
				"%d of %d answers are wrong, such as %.2000s", r.Bad, r.Requests, r.Example,
			)
		}
		t.add(
			label,
			number(float64(r.Requests)/r.Seconds, 0),
			milliseconds(r.Latency[0]),
			milliseconds(r.Latency[1]),
			milliseconds(r.Latency[2]),
			milliseconds(r.Latency[3]),
			number(
				u.perEvent(u.ours),
				0,
			),
			number(u.perEvent(r.CPU), 0),
			number(float64(r.Bad), 0),
			number(
				100*float64(r.Personal)/float64(r.Requests), 0,
			)+" %",
		)
		c.add(label+" client(s)", float64(r.Requests)/r.Seconds)
	}
	return nil
}

// trending waits for the first computation of what is popular: the users of the hold-out are shown
// it.
func (in *installation) trending(ctx context.Context) error {
	return in.until(ctx, time.Minute, "what is trending", func() (bool, error) {
		res, err := http.Get("http://" + in.http + "/v1/trending?n=10")
		if err != nil {
			return false, nil
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return err == nil && strings.Contains(string(body), `"degraded":[]`) &&
			strings.Contains(string(body), `"rank":10`), nil
	})
}

// recall compares what the index finds with an exact scan over what it holds.
func (b *bench) recall(ctx context.Context, in *installation) (float64, int, error) {
	cfg := qdrant.DefaultConfig()
	cfg.Addr, cfg.Dim, cfg.ContentDim = os.Getenv(
		"QDRANT_ADDR",
	), model.Default().Dim+1, model.DefaultContentDim
	for _, e := range in.env {
		if prefix, ok := strings.CutPrefix(e, "SLIPSTREAM_QDRANT_COLLECTION_PREFIX="); ok {
			cfg.CollectionPrefix = prefix
		}
	}
	store, err := qdrant.Open(ctx, cfg)
	if err != nil {
		return 0, 0, err
	}
	defer store.Close()
	var ids []string
	if err := store.Items().ItemVersions(
		ctx,
		func(id string, _ uint64) error { ids = append(ids, id); return nil },
	); err != nil {
		return 0, 0, err
	}
	var all []sinks.Item
	for chunk := range slices.Chunk(ids, 1000) {
		found, err := store.Items().GetItems(ctx, chunk)
		if err != nil {
			return 0, 0, err
		}
		all = append(all, found...)
	}
	var users []string
	for i := range 100 {
		users = append(users, userID(i*servingUsers/100))
	}
	points, err := store.Users().GetUsers(ctx, users)
	if err != nil {
		return 0, 0, err
	}
	hits, n := 0, 0
	for _, p := range points {
		if p.Vector == nil {
			continue
		}
		found, err := store.Items().SearchItems(ctx, []sinks.ItemQuery{{Vector: p.Vector, N: 10}})
		if err != nil {
			return 0, 0, err
		}
		n++
		want := exact(all, p.Vector, 10)
		for _, h := range found[0] {
			if h.Score >= want-1e-4*max(1, want) {
				hits++
			}
		}
	}
	if n == 0 {
		return 0, 0, errors.New("no users with a vector")
	}
	return float64(hits) / float64(10*n), n, nil
}

// exact returns the score of the n-th best item.
func exact(items []sinks.Item, query []float32, n int) float64 {
	scores := make([]float64, 0, len(items))
	for i := range items {
		if items[i].Content.IsAvailable() && len(items[i].Vector) == len(query) {
			scores = append(scores, float64(model.Dot(query, items[i].Vector)))
		}
	}
	slices.SortFunc(scores, func(a, b float64) int {
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
	if len(scores) < n {
		return 0
	}
	return scores[n-1]
}
