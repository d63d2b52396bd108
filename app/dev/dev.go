// Package dev runs everything in one process on one machine: the embedded broker, the embedded
// store, all processors, the API and, on request, a simulated audience.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/producers/simulator"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

// Defaults sets the defaults that differ in one process on one machine.
func Defaults(c *config.Config) {
	c.Topics.Partitions = 4
	c.Log.Level = "warn"
	c.HTTP.DrainDelay = 0 // nobody has to notice
	c.Recommend.TrendingInterval = 5 * time.Second
}

// DemoDefaults sets the defaults of the demo beside those of Defaults: so many people are in the
// hold-out that the difference to it shows within minutes.
func DemoDefaults(c *config.Config) { c.Recommend.HoldoutShare = 0.2 }

// wipeStore deletes the files of the store in dir, and a rebuild that was not finished. Whoever
// holds the log's folder may do so.
func wipeStore(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, app.StoreFile+"*"))
	if err != nil {
		return err
	}
	for _, name := range append(names, filepath.Join(dir, app.RebuildFolder)) {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("delete the data of earlier runs: %w", err)
		}
	}
	return nil
}

// Options say how to run.
type Options struct {
	// Demo runs a simulated audience of DemoRate events per second.
	Demo     bool
	DemoRate float64
	// Fresh deletes the data of earlier runs first.
	Fresh bool
	// Kafka is the loopback address of the embedded listener.
	Kafka string
	// Only are the processors to run, as for app.Options.
	Only []string
	// Version is the version of the build.
	Version string
	// Out receives the messages for the user, Log everything else.
	Out io.Writer
	Log *slog.Logger
}

// dev is everything in one process.
type dev struct {
	Options
	cfg   config.Config
	lists *app.CurrentLists
}

// Run runs everything until ctx ends.
func Run(ctx context.Context, cfg config.Config, o Options) error {
	if _, err := app.ParseOnly(o.Only); err != nil {
		return err
	}
	d := &dev{Options: o, cfg: cfg, lists: app.NewCurrentLists()}
	return d.run(ctx)
}

func (d *dev) run(ctx context.Context) error {
	started := time.Now()
	// What can be refused comes first: both ports and the folder's lock. Only then is anything
	// deleted, for another process may use the folder.
	l, err := d.listen(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	bc := embedded.DefaultConfig(filepath.Join(d.cfg.DataDir, app.LogFolder))
	bc.Addr, bc.Log, bc.Fresh = d.Kafka, d.Log, d.Fresh
	broker, err := embedded.Start(ctx, bc)
	if err != nil {
		return fmt.Errorf(
			"start the embedded Kafka broker (--kafka sets the address, --data the folder): %w",
			err,
		)
	}
	defer broker.Close()
	if d.Fresh {
		if err := wipeStore(d.cfg.DataDir); err != nil {
			return err
		}
	}
	d.cfg.Kafka.Brokers = []string{broker.Addr()}
	a, err := app.Open(ctx, d.cfg, app.Options{
		Only: d.Only, Embedded: true, HTTP: l, Version: d.Version, Log: d.Log,
	})
	if err != nil {
		return err
	}
	compact := newCompactor(a.Kafka(), broker)
	d.welcome(broker.Addr())
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Run(gctx) })
	group.Go(func() error { return d.watch(gctx, a, started) })
	group.Go(func() error { return a.Every(gctx, compactInterval, "compact the log", compact.run) })
	if d.Demo {
		group.Go(func() error { return d.play(gctx, a) })
	}
	err = group.Wait()
	fmt.Fprintln(
		d.Out, "\nstopping: batches in flight are finished, the data is kept in", d.cfg.DataDir,
	)
	return errors.Join(fault.IgnoreCanceled(err), a.Close(), broker.Close())
}

// listen binds the address of the HTTP server, and notes which port it is.
func (d *dev) listen(ctx context.Context) (net.Listener, error) {
	l, err := api.Listen(ctx, d.cfg.HTTP.Addr)
	if err != nil {
		return nil, err
	}
	if host, port, err := net.SplitHostPort(d.cfg.HTTP.Addr); err == nil && port == "0" {
		_, port, _ = net.SplitHostPort(l.Addr().String())
		d.cfg.HTTP.Addr = net.JoinHostPort(host, port)
	}
	return l, nil
}

// play runs the simulated audience.
func (d *dev) play(ctx context.Context, a *app.App) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.Ready():
	}
	c := simulator.DefaultConfig()
	c.Rate, c.Run, c.Warmup = d.DemoRate, time.Now().UTC().Format(time.RFC3339), 2000
	_, err := app.Simulate(ctx, a.Kafka(), d.Log, c, d.lists)
	return fault.IgnoreCanceled(err)
}

func (d *dev) welcome(brokerAddr string) {
	what := "API"
	if !d.hasAPI() {
		what = "HTTP" // health and metrics
	}
	fmt.Fprintf(
		d.Out,
		"Slipstream %s\n  %-6s %s\n  Kafka  %s (any client; topics: slipstream status)\n  "+
			"data   %s (kept; --fresh starts over)\n",
		d.Version, what, app.BaseURL(d.cfg.HTTP.Addr), brokerAddr, d.cfg.DataDir,
	)
}

// watch prints one line of rates and lag, refreshed, and once a command to try.
func (d *dev) watch(ctx context.Context, a *app.App, started time.Time) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.Ready():
	}
	tty := IsTerminal(d.Out)
	interval := time.Second
	if !tty {
		interval = 10 * time.Second
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var before app.Totals
	last, hinted := time.Now(), false
	for tick := 0; ; tick++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !hinted {
			hinted = d.hint(ctx, started, tty)
		}
		if time.Since(last) < interval {
			continue
		}
		after, err := a.Rates()
		if err != nil {
			return err
		}
		open, err := openLetters(ctx, a)
		if err != nil {
			continue // the broker is stopping, or the next line has it
		}
		seconds := time.Since(last).Seconds()
		line := rateLine(before, after, seconds, open)
		before, last = after, time.Now()
		if tty {
			fmt.Fprintf(d.Out, "\r\x1b[K%s", line)
		} else {
			fmt.Fprintln(d.Out, line)
		}
	}
}

// openLetters returns how many dead letters wait for a person, whenever they were written.
func openLetters(ctx context.Context, a *app.App) (n int, err error) {
	open, err := a.Kafka().DeadLetters().Open(ctx)
	for _, of := range open {
		n += of
	}
	return n, err
}

func rateLine(before, after app.Totals, seconds float64, open int) string {
	rate := func(a, b int64) float64 { return float64(b-a) / seconds }
	var lag int64
	for _, n := range after.Lag {
		lag += n
	}
	return fmt.Sprintf("%s  written %.0f/s  embed %.0f/s  analytics %.0f/s  lists %.0f/s  lag "+
		"%d  open dead letters %d",
		time.Now().Format(time.TimeOnly), rate(before.Produced, after.Produced), rate(
			before.Consumed["embed"], after.Consumed["embed"],
		),
		rate(before.Consumed["analytics"], after.Consumed["analytics"]), rate(
			before.Consumed["recommend"], after.Consumed["recommend"],
		), lag, open)
}

// hint prints a command to try: for a user who has a personal list, or to send a first event. It
// returns false when there is no such user yet.
func (d *dev) hint(ctx context.Context, started time.Time, tty bool) bool {
	if !d.hasAPI() {
		fmt.Fprintf(d.Out, "ready after %.1f s\n", time.Since(started).Seconds())
		return true
	}
	if !d.Demo {
		fmt.Fprintf(
			d.Out, "ready after %.1f s; send a first event:\n\n  %s\n\n",
			time.Since(started).Seconds(), firstEvent(d.cfg.HTTP.Addr),
		)
		return true
	}
	user := d.lists.Someone()
	if user == "" || d.reachable(ctx) != nil {
		return false
	}
	if tty {
		fmt.Fprint(d.Out, "\r\x1b[K")
	}
	fmt.Fprintf(
		d.Out, "ready after %.1f s; try:\n\n  curl -s '%s/v1/users/%s/recommendations?n=5'\n\n",
		time.Since(started).Seconds(), app.BaseURL(d.cfg.HTTP.Addr), user,
	)
	return true
}

// hasAPI reports whether the API runs here.
func (d *dev) hasAPI() bool { return len(d.Only) == 0 || slices.Contains(d.Only, "api") }

func firstEvent(addr string) string {
	return fmt.Sprintf(
		`curl -s %s/v1/events -H 'content-type: application/json' -d '{"user_id":"ann",`+
			`"item_id":"alien","action":"like"}'`,
		app.BaseURL(addr),
	)
}

// httpTimeout bounds a call of the API of this process.
const httpTimeout = 3 * time.Second

// reachable calls the API, so that the printed command works when it is printed.
func (d *dev) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(
		ctx, http.MethodGet, app.BaseURL(d.cfg.HTTP.Addr)+"/readyz", nil,
	)
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

// IsTerminal reports whether w is a terminal, where a line can be refreshed.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
