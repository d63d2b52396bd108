package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/qdrant/go-client/qdrant"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
)

// installation is a set of topics and stores of its own, and the process that works on them.
type installation struct {
	b        *bench
	name     string
	real     bool
	only     []string
	brokers  string
	env      []string
	prefix   string
	http     string
	conn     *stream.Conn
	producer *producer
	cmd      *exec.Cmd
	done     chan error
	logs     string
}

// names distinguish the installations of one run; the process id those of several.
var names atomic.Int64

// start starts a process with the processors in only (nil: all) on the real engines or on the
// embedded ones, with a catalog.
func (b *bench) start(
	ctx context.Context,
	name string,
	real bool,
	only []string,
) (*installation, error) {
	id := fmt.Sprintf("bench%d_%d", os.Getpid(), names.Add(1))
	in := &installation{
		b: b, name: name, real: real, only: only, logs: filepath.Join(b.dir, id+".log"),
		done: make(chan error, 1),
	}
	if real {
		in.prefix = id + "."
		in.brokers = b.engines.brokers[0]
		in.env = []string{
			"SLIPSTREAM_KAFKA_TOPIC_PREFIX=" + in.prefix,
			"SLIPSTREAM_QDRANT_COLLECTION_PREFIX=" + id + "-",
			"SLIPSTREAM_NEO4J_LABEL_PREFIX=" + strings.ToUpper(id[:1]) + id[1:],
			"CLICKHOUSE_DATABASE=" + id,
		}
		b.later(func(ctx context.Context) { b.remove(ctx, id) })
	}
	in.http = "127.0.0.1:" + freePort()
	args := []string{"run", "--http", in.http, "--log-level", "warn"}
	if !real {
		in.brokers = "127.0.0.1:" + freePort()
		args = []string{
			"dev", "--http", in.http, "--log-level", "warn", "--data", filepath.Join(b.dir, id),
			"--kafka", in.brokers,
		}
	}
	if only != nil {
		args = append(args, "--only", strings.Join(only, ","))
	}
	if b.o.profiles != "" {
		args = append(
			args, "--profile", filepath.Join(b.o.profiles, strings.ReplaceAll(name, " ", "-")),
		)
	}
	log, err := os.Create(in.logs)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	in.cmd = exec.Command(b.product, args...)
	in.cmd.Env = append(os.Environ(), in.env...)
	if b.o.smoke {
		in.cmd.Env = append(in.cmd.Env, "SLIPSTREAM_RECOMMEND_TRENDING_INTERVAL=1s")
	}
	in.cmd.Stdout, in.cmd.Stderr = log, log
	if err := in.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { in.done <- in.cmd.Wait() }()
	if err := in.connect(ctx); err != nil {
		in.stop()
		return nil, fmt.Errorf("%s: %w\n%s", name, err, in.log())
	}
	return in, nil
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "0"
	}
	defer l.Close()
	return port(l.Addr().String())
}

func (in *installation) log() string {
	data, _ := os.ReadFile(in.logs)
	return string(data[max(0, len(data)-4000):])
}

// connect waits for the topics and opens a connection of the load generator's own.
func (in *installation) connect(ctx context.Context) error {
	return in.until(ctx, time.Minute, "the topics to be made", func() (bool, error) {
		if in.conn == nil {
			cfg := stream.DefaultConfig(in.brokers)
			cfg.Prefix = in.prefix
			conn, err := stream.Open(ctx, cfg)
			if err != nil {
				return false, nil
			}
			in.conn = conn
			pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
			if err != nil {
				return false, err
			}
			in.producer = &producer{pub: pub}
		}
		for _, t := range []string{
			schemas.TopicItems, schemas.TopicMeta, schemas.TopicRecommendations,
			schemas.TopicProfileChanges, schemas.TopicFriendships,
		} {
			if _, err := in.conn.Offsets(ctx, t); err != nil {
				return false, nil
			}
		}
		return true, nil
	})
}

// until polls, and fails when the process ends.
func (in *installation) until(
	ctx context.Context,
	limit time.Duration,
	what string,
	f func() (bool, error),
) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(limit)
	for {
		ok, err := f()
		if ok || err != nil {
			return err
		}
		select {
		case err := <-in.done:
			in.done <- err
			return fmt.Errorf("the process ended while waiting for %s: %v", what, err)
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", limit, what)
		}
	}
}

// ready waits for the API.
func (in *installation) ready(ctx context.Context) error {
	return in.until(ctx, time.Minute, "the API", func() (bool, error) {
		res, err := http.Get("http://" + in.http + "/readyz")
		if err != nil {
			return false, nil
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK, nil
	})
}

// groups lists the consumer groups that work here, with their topics.
func (in *installation) groups() map[string][]string {
	out := make(map[string][]string)
	for group, topics := range processors.GroupTopics(nil) {
		if in.only != nil && !slices.Contains(in.only, group) {
			continue
		}
		out[group] = topics
	}
	return out
}

// lag returns how many records the groups are behind, by group.
func (in *installation) lag(ctx context.Context) (total int64, by map[string]int64, err error) {
	lags, err := admin.Lag(ctx, in.conn, in.groups())
	if err != nil {
		return 0, nil, err
	}
	by = make(map[string]int64)
	for _, l := range lags {
		by[l.Group] += l.Lag
		total += l.Lag
	}
	return total, by, nil
}

// drained waits until every group has everything behind it, what follows from it included.
func (in *installation) drained(ctx context.Context, limit time.Duration) error {
	zeros := 0
	return in.until(ctx, limit, "the groups to catch up", func() (bool, error) {
		total, _, err := in.lag(ctx)
		if err != nil {
			return false, err
		}
		if total > 0 {
			zeros = 0
			return false, nil
		}
		zeros++
		return zeros >= 2, nil // what was emitted between two looks is seen by the second
	})
}

// stop ends the process in order, and shows its last words when it did not end well.
func (in *installation) stop() {
	_ = in.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-in.done:
		if err != nil {
			in.b.say("%s ended with %v\n%s", in.name, err, in.log())
		}
	case <-time.After(40 * time.Second):
		_ = in.cmd.Process.Kill()
		<-in.done
	}
	if in.producer != nil {
		_ = in.producer.pub.Close()
	}
	if in.conn != nil {
		_ = in.conn.Close()
	}
	if !in.real {
		_ = os.RemoveAll(
			filepath.Join(in.b.dir, strings.TrimSuffix(filepath.Base(in.logs), ".log")),
		)
	}
}

// remove deletes what an installation has left on the real engines.
func (b *bench) remove(ctx context.Context, id string) {
	report := func(err error) {
		if err != nil {
			b.say("clean up %s: %v", id, err)
		}
	}
	report(removeTopics(ctx, b.engines.brokers[0], id+"."))
	report(removeCollections(ctx, id+"-"))
	report(removeDatabase(ctx, id))
	report(removeGraph(ctx, strings.ToUpper(id[:1])+id[1:]))
}

func removeTopics(ctx context.Context, broker, prefix string) error {
	cfg := stream.DefaultConfig(broker)
	cfg.Prefix = prefix
	conn, err := stream.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	var names []string
	for _, t := range processors.Topics(schemas.DefaultTopicsConfig()) {
		names = append(names, t.Name)
	}
	return admin.DeleteTopics(ctx, conn, names...)
}

func removeCollections(ctx context.Context, prefix string) error {
	host, p, err := net.SplitHostPort(os.Getenv("QDRANT_ADDR"))
	if err != nil {
		return err
	}
	var n int
	fmt.Sscan(p, &n)
	c, err := qdrant.NewClient(&qdrant.Config{Host: host, Port: n, SkipCompatibilityCheck: true})
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.ListCollections(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range found {
		if strings.HasPrefix(name, prefix) {
			errs = append(errs, c.DeleteCollection(ctx, name))
		}
	}
	return errors.Join(errs...)
}

func removeDatabase(ctx context.Context, name string) error {
	c, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{os.Getenv("CLICKHOUSE_ADDR")},
		Auth: clickhouse.Auth{
			Username: os.Getenv("CLICKHOUSE_USERNAME"), Password: os.Getenv("CLICKHOUSE_PASSWORD"),
		},
	})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Exec(ctx, "DROP DATABASE IF EXISTS `"+name+"`")
}

func removeGraph(ctx context.Context, prefix string) error {
	d, err := neo4j.NewDriverWithContext(
		os.Getenv("NEO4J_URI"),
		neo4j.BasicAuth(os.Getenv("NEO4J_USERNAME"), os.Getenv("NEO4J_PASSWORD"), ""),
	)
	if err != nil {
		return err
	}
	defer d.Close(ctx)
	s := d.NewSession(ctx, neo4j.SessionConfig{})
	defer s.Close(ctx)
	query := func(cypher string, params map[string]any) ([]*neo4j.Record, error) {
		res, err := s.Run(ctx, cypher, params)
		if err != nil {
			return nil, err
		}
		return res.Collect(ctx)
	}
	if _, err := query(
		"MATCH (n) WHERE any(l IN labels(n) WHERE l STARTS WITH $p) CALL (n) { DETACH DELETE n "+
			"} IN TRANSACTIONS OF 5000 ROWS",
		map[string]any{"p": prefix},
	); err != nil {
		return err
	}
	for kind, show := range map[string]string{
		"CONSTRAINT": "SHOW CONSTRAINTS", "INDEX": "SHOW INDEXES",
	} {
		rows, err := query(
			show+" YIELD name, labelsOrTypes WHERE any(l IN labelsOrTypes WHERE l STARTS WITH "+
				"$p) RETURN name",
			map[string]any{"p": prefix},
		)
		if err != nil {
			return err
		}
		for _, r := range rows {
			drop := fmt.Sprintf("DROP %s `%s` IF EXISTS", kind, r.Values[0])
			if _, err := query(drop, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
