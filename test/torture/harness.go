//go:build linux

package torture

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// harness holds one run together.
type harness struct {
	cfg      Config
	dir      string
	logs     io.Writer
	services *services // nil with the embedded engines
	// instances are those that always run and one that comes and goes.
	instances []*instance
	conn      *stream.Conn // what the load writes through: it suffers the faults too
	pub       *stream.Publisher
	direct    *stream.Conn // what the comparison reads through
	foreign   *foreign
	skipped   skipped
	bombs     func() ([]byte, error)
	ledger    *ledger
	load      *load
	planter   *sender
	tally     tally
	begin     time.Time

	mu        sync.Mutex
	injecting time.Time // since when
	stops     []time.Duration
	ended     []string
}

func newHarness(cfg Config, dir string, logs io.Writer) *harness {
	h := &harness{
		cfg: cfg, dir: dir, logs: logs, ledger: newLedger(), begin: time.Now(),
		tally: tally{byKind: make(map[string]int)}, bombs: sync.OnceValues(compressionBomb),
	}
	h.load = &load{
		cfg: cfg, world: newWorld(cfg), ledger: h.ledger, sender: h.sender, progress: h.progress,
	}
	return h
}

// note writes a line of the diary.
func (h *harness) note(format string, args ...any) {
	fmt.Fprintf(h.logs, "%7.1f  %s\n", time.Since(h.begin).Seconds(), fmt.Sprintf(format, args...))
}

// progress is how much of the run is over, by faults or by time.
func (h *harness) progress() float64 {
	h.mu.Lock()
	begun := h.injecting
	h.mu.Unlock()
	if begun.IsZero() {
		return 0
	}
	h.tally.mu.Lock()
	faults := float64(h.tally.total) / float64(max(h.cfg.Faults, 1))
	h.tally.mu.Unlock()
	return max(faults, float64(time.Since(begun))/float64(h.cfg.Duration))
}

func (h *harness) sender(name string, seed uint64) *sender {
	return &sender{
		name: name, rand: rand.New(rand.NewPCG(h.cfg.Seed, seed)), pub: h.pub, ledger: h.ledger,
		target: h.target, foreign: h.foreign, strays: h.load.world.strays, clocks: true,
	}
}

// target chooses an instance that runs.
func (h *harness) target(r *rand.Rand) string {
	for range 4 {
		if x := h.instances[r.IntN(h.cfg.Instances)]; x.running() {
			return x.http
		}
	}
	return ""
}

// settings are those of an instance that differ from the defaults: short sessions, few partitions,
// short delays of the retry topics, and what follows from that. One instance runs with each.
func (h *harness) settings() []string {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
	call := seconds(h.cfg.Session * 2 / 3)
	return []string{
		fmt.Sprintf("SLIPSTREAM_TOPICS_PARTITIONS=%d", h.cfg.Partitions),
		"SLIPSTREAM_TOPICS_RETRY_DELAYS=1s,5s,15s",
		"SLIPSTREAM_STREAM_SESSION_TIMEOUT=" + seconds(h.cfg.Session),
		"SLIPSTREAM_STREAM_REBALANCE_TIMEOUT=" + seconds(h.cfg.Session),
		"SLIPSTREAM_STREAM_HEARTBEAT_INTERVAL=1s", "SLIPSTREAM_STREAM_REQUEST_TIMEOUT=" + call,
		"SLIPSTREAM_QDRANT_TIMEOUT=" + call, "SLIPSTREAM_NEO4J_TIMEOUT=" + call,
		"SLIPSTREAM_CLICKHOUSE_TIMEOUT=" + call,
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + h.dir,
	}
}

// onServices prepares instances on real engines, not yet started.
func (h *harness) onServices(ctx context.Context, binary, script string) error {
	var err error
	if h.services, err = startServices(ctx, script, h.dir, h.cfg.Brokers, h.logs); err != nil {
		return err
	}
	h.note("engines are up")
	s := h.services
	env := append(
		h.settings(),
		"SLIPSTREAM_KAFKA_TOPIC_PREFIX="+topicPrefix,
		"KAFKA_BROKERS="+strings.Join(s.kafka(s.proxied), ","),
		"QDRANT_ADDR="+s.proxied[engineQdrant],
		"SLIPSTREAM_QDRANT_COLLECTION_PREFIX="+database+"_",
		"NEO4J_URI=bolt://"+s.proxied[engineNeo4j],
		"NEO4J_USERNAME=neo4j",
		"NEO4J_PASSWORD="+neo4jPassword,
		"SLIPSTREAM_NEO4J_LABEL_PREFIX="+labelPrefix,
		"CLICKHOUSE_ADDR="+s.proxied[engineClickHouse],
		"CLICKHOUSE_DATABASE="+database,
		"CLICKHOUSE_USERNAME=default",
		"CLICKHOUSE_PASSWORD=",
	)
	ports, err := freePorts(h.cfg.Instances + 1)
	if err != nil {
		return err
	}
	for i, p := range ports {
		addr := fmt.Sprintf("127.0.0.1:%d", p)
		x, err := newInstance(
			h.dir, fmt.Sprintf("instance%d", i), binary, addr, []string{"run"},
			append(slices.Clone(env), "SLIPSTREAM_HTTP_ADDR="+addr), h.ending,
		)
		if err != nil {
			return err
		}
		h.instances = append(h.instances, x)
	}
	return h.connect(ctx, s.kafka(s.proxied), s.kafka(s.direct))
}

// onEmbedded prepares the one process of slipstream dev.
func (h *harness) onEmbedded(binary string) (kafka string, err error) {
	ports, err := freePorts(2)
	if err != nil {
		return "", err
	}
	h.cfg.Instances = 1
	x, kafka, err := h.dev("dev", binary, ports, h.settings())
	h.instances = []*instance{x, x}
	return kafka, err
}

func (h *harness) dev(name, binary string, ports []int, env []string) (*instance, string, error) {
	addr, kafka := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	x, err := newInstance(
		h.dir, name, binary, addr,
		[]string{"dev", "--http", addr, "--kafka", kafka, "--data", filepath.Join(h.dir, name)},
		env, h.ending,
	)
	return x, kafka, err
}

func (h *harness) ending(what string) {
	h.note("%s", what)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = append(h.ended, what)
}

func (h *harness) connect(ctx context.Context, proxied, direct []string) (err error) {
	c := stream.DefaultConfig(proxied...)
	c.RequestTimeout, c.ClientID, c.OpenTimeout = 5*time.Second, "torture", time.Minute
	if h.services != nil {
		c.Prefix = topicPrefix
	}
	if h.conn, err = stream.Open(ctx, c); err != nil {
		return err
	}
	p := stream.DefaultPublisherConfig()
	p.RequestTimeout, p.Timeout = 5*time.Second, 15*time.Second
	if h.pub, err = stream.NewPublisher(h.conn, p); err != nil {
		return err
	}
	if h.foreign, err = newForeign(proxied, c.Prefix, h.cfg.Partitions); err != nil {
		return err
	}
	c.Brokers, c.Skipped = direct, h.skipped.add
	h.direct, err = stream.Open(ctx, c)
	return err
}

// skipped collects batches that readers have skipped.
type skipped struct {
	mu      sync.Mutex
	batches map[position]record.Undecodable
}

func (s *skipped) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = make(map[position]record.Undecodable)
}

func (s *skipped) add(u *record.Undecodable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batches != nil {
		s.batches[position{u.Topic, u.Partition, u.First}] = *u
	}
}

func (s *skipped) found() []record.Undecodable {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.batches))
}

func (h *harness) close() {
	for _, x := range h.instances {
		x.want(false)
		x.kill()
	}
	h.disconnect()
	if h.services != nil {
		if err := h.services.wipe(); err != nil {
			h.note("wipe: %v", err)
		}
	}
}

// disconnect undoes connect.
func (h *harness) disconnect() {
	if h.pub != nil {
		_ = h.pub.Close()
	}
	if h.foreign != nil {
		h.foreign.close()
	}
	for _, c := range []*stream.Conn{h.conn, h.direct} {
		if c != nil {
			_ = c.Close()
		}
	}
	h.pub, h.foreign, h.conn, h.direct = nil, nil, nil, nil
}

// retryDelays are those of the instances under torture.
var retryDelays = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}

// groupTopics are what each group reads, its retry topics too.
func groupTopics() map[string][]string { return processors.GroupTopics(retryDelays) }

// lag returns how many records the groups have before them, by group, and how many ranges are in
// work.
func lag(ctx context.Context, conn *stream.Conn) (byGroup map[string]int64, inWork int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	lags, err := admin.Lag(ctx, conn, groupTopics())
	if err != nil {
		return nil, 0, err
	}
	byGroup = make(map[string]int64)
	for _, l := range lags {
		if l.Lag > 0 {
			byGroup[l.Group] += l.Lag
		}
		// A group without intents may keep a note there.
		if in, err := record.ParseIntent(l.Metadata); err == nil && in != nil {
			inWork++
		}
	}
	return byGroup, inWork, nil
}

// ended is an error while a transaction is open: the lag does not count what stands behind it.
func ended(ctx context.Context, conn *stream.Conn) error {
	bounds, err := conn.Offsets(
		ctx, schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicItems,
	)
	for tp, b := range bounds {
		if b.End < b.HighWatermark {
			return fmt.Errorf("a transaction is open on %s from offset %d", tp, b.End)
		}
	}
	return err
}

// awaitIdle waits until the lag of every group has been 0 for a while: processors emit to one
// another.
func (h *harness) awaitIdle(ctx context.Context, conn *stream.Conn, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var before string
	for calm := 0; calm < 4; {
		byGroup, inWork, err := lag(ctx, conn)
		if err == nil {
			err = ended(ctx, conn)
		}
		state := fmt.Sprintf("%v, %d batch intents", byGroup, inWork)
		if err != nil {
			state = err.Error()
		}
		if err == nil && len(byGroup) == 0 && inWork == 0 {
			calm++
		} else {
			if calm = 0; state != before {
				h.note("waiting for the lag: %s", state)
			}
			before = state
		}
		if !wait(ctx, time.Second) {
			return fmt.Errorf("after %s there is still work: %s", limit, state)
		}
	}
	return nil
}
