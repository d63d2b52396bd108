package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/slipstream-rec/slipstream/internal/config"
	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

// devDefaults are what differs in one process on one machine.
func devDefaults(c *config.Config) {
	c.Topics.Partitions = 4
	c.Log.Level = "warn"
	c.Recommend.TrendingInterval = 5 * time.Second
}

func newDev() *cobra.Command {
	var (
		demo  bool
		fresh bool
		kafka string
		rate  float64
		only  []string
	)
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process, with nothing installed",
		Long: `Run everything in one process: a Kafka broker on localhost (any Kafka client can connect), stores in one SQLite file, all processors and the API. Data is kept in
--data and is there again at the next start. With --demo a simulated audience uses a movie-like catalogue.

The embedded broker is for development on one machine: it holds its log in memory and on disk, up to 1 GiB.`,
		Example: "  slipstream dev --demo\n  slipstream dev --http 127.0.0.1:9090 --kafka 127.0.0.1:19092 --data /tmp/slipstream",
		Args:    cobra.NoArgs,
	}
	s := addSettings(cmd, map[string]string{"http": "http.addr", "data": "data_dir", "log-level": "log.level", "log-format": "log.format"}, devDefaults)
	cmd.Flags().BoolVar(&demo, "demo", false, "play a simulated audience")
	cmd.Flags().Float64Var(&rate, "demo-rate", 50, "events a second of the audience")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "delete the data of earlier runs first")
	cmd.Flags().StringVar(&kafka, "kafka", "127.0.0.1:9092", "loopback address of the embedded Kafka listener")
	cmd.Flags().StringSliceVar(&only, "only", nil, "processors to run, as for slipstream run (default all)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		names, err := parseOnly(only)
		if err != nil {
			return err
		}
		cfg, log, err := s.load(cmd)
		if err != nil {
			return err
		}
		if fresh {
			if err := wipe(cfg.DataDir); err != nil {
				return err
			}
		}
		d := &dev{cfg: cfg, log: log, out: cmd.OutOrStdout(), demo: demo, demoRate: rate, kafka: kafka, only: names, lists: newCurrentLists()}
		return d.run(cmd.Context())
	}
	profiled(cmd)
	return cmd
}

// The folders and files of a data folder that belong to Slipstream.
const (
	logFolder = "kafka"
	storeFile = "slipstream.db"
)

// wipe removes what Slipstream has put into dir, and nothing else.
func wipe(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, storeFile+"*"))
	if err != nil {
		return err
	}
	for _, name := range append(names, filepath.Join(dir, logFolder)) {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("delete the data of earlier runs: %w", err)
		}
	}
	return nil
}

// dev is everything in one process.
type dev struct {
	cfg      config.Config
	log      *slog.Logger
	out      io.Writer
	demo     bool
	demoRate float64
	kafka    string
	only     []string
	lists    *currentLists
}

func (d *dev) run(ctx context.Context) error {
	started := now()
	bc := embedded.DefaultConfig(filepath.Join(d.cfg.DataDir, logFolder))
	bc.Addr, bc.Log = d.kafka, d.log
	broker, err := embedded.Start(ctx, bc)
	if err != nil {
		return fmt.Errorf("start the embedded Kafka broker (another address: --kafka, another folder: --data): %w", err)
	}
	defer broker.Close()
	d.cfg.Kafka.Brokers = []string{broker.Addr()}
	metrics := telemetry.NewMetrics(version)
	k, err := openKafka(ctx, d.cfg, metrics)
	if err != nil {
		return err
	}
	e, err := openEmbedded(ctx, d.cfg.DataDir)
	if err != nil {
		_ = k.Close()
		return err
	}
	a, err := newApp(ctx, d.cfg, d.log, k, e, metrics, d.only, true)
	if err != nil {
		_ = e.Close()
		_ = k.Close()
		return err
	}
	keep := newKeeper(k, broker)
	d.welcome(broker.Addr())
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.run(gctx) })
	group.Go(func() error { return d.watch(gctx, a, started) })
	group.Go(func() error { return a.every(gctx, keepInterval, "compact the log", keep.run) })
	if d.demo {
		group.Go(func() error { return d.play(gctx, a) })
	}
	err = group.Wait()
	fmt.Fprintln(d.out, "\nstopping: what is in flight is finished, the data is kept in", d.cfg.DataDir)
	return errors.Join(ignoreCanceled(err), a.Close(), broker.Close())
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (d *dev) welcome(brokerAddr string) {
	fmt.Fprintf(d.out, "Slipstream %s\n  API    %s\n  Kafka  %s (any client; topics: slipstream status)\n  data   %s (kept; --fresh starts over)\n", version, baseURL(d.cfg.HTTP.Addr), brokerAddr, d.cfg.DataDir)
}

// baseURL is where a person on this machine reaches the API.
func baseURL(addr string) string {
	if strings.HasPrefix(addr, ":") || strings.HasPrefix(addr, "0.0.0.0:") {
		addr = "127.0.0.1" + addr[strings.LastIndexByte(addr, ':'):]
	}
	return "http://" + addr
}

// watch prints one line of rates and lag, refreshed, and once what to try.
func (d *dev) watch(ctx context.Context, a *app, started time.Time) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.ready:
	}
	tty := isTerminal(d.out)
	interval := time.Second
	if !tty {
		interval = 10 * time.Second
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var before telemetry.Totals
	last, hinted := now(), false
	for tick := 0; ; tick++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !hinted {
			hinted = d.hint(ctx, a, started, tty)
		}
		if now().Sub(last) < interval {
			continue
		}
		after, err := a.metrics.Totals()
		if err != nil {
			return err
		}
		seconds := now().Sub(last).Seconds()
		line := rateLine(before, after, seconds)
		before, last = after, now()
		if tty {
			fmt.Fprintf(d.out, "\r\x1b[K%s", line)
		} else {
			fmt.Fprintln(d.out, line)
		}
	}
}

func rateLine(before, after telemetry.Totals, seconds float64) string {
	rate := func(a, b int64) float64 { return float64(b-a) / seconds }
	var lag int64
	for _, n := range after.Lag {
		lag += n
	}
	return fmt.Sprintf("%s  written %.0f/s  embed %.0f/s  aggregate %.0f/s  lists %.0f/s  lag %d  dead letters %d",
		now().Format(time.TimeOnly), rate(before.Produced, after.Produced), rate(before.Consumed["embed"], after.Consumed["embed"]),
		rate(before.Consumed["aggregate"], after.Consumed["aggregate"]), rate(before.Consumed["recommend"], after.Consumed["recommend"]), lag, after.Poisoned)
}

// hint prints, once, a command that works: for a user who has a personal list, or how to send a first event.
func (d *dev) hint(ctx context.Context, a *app, started time.Time, tty bool) bool {
	if !d.demo {
		fmt.Fprintf(d.out, "ready after %.1f s; send a first event:\n\n  %s\n\n", now().Sub(started).Seconds(), firstEvent(d.cfg.HTTP.Addr))
		return true
	}
	user := d.lists.someone()
	if user == "" || a.reachable(ctx) != nil {
		return false
	}
	if tty {
		fmt.Fprint(d.out, "\r\x1b[K")
	}
	fmt.Fprintf(d.out, "ready after %.1f s; try:\n\n  curl -s '%s/v1/users/%s/recommendations?n=5'\n\n", now().Sub(started).Seconds(), baseURL(d.cfg.HTTP.Addr), user)
	return true
}

func firstEvent(addr string) string {
	return fmt.Sprintf(`curl -s %s/v1/events -H 'content-type: application/json' -d '{"user_id":"ann","item_id":"alien","action":"like"}'`, baseURL(addr))
}

// reachable asks the API itself, so that the printed command works when it is printed.
func (a *app) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, baseURL(a.cfg.HTTP.Addr)+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the API answers %s", res.Status)
	}
	return nil
}

// isTerminal tells whether w is a terminal, where a line can be refreshed.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
