// Command bench measures Slipstream from end to end, side by side with what one would use instead,
// and writes tables and charts.
//
// It runs on the engines that KAFKA_BROKERS, QDRANT_ADDR, NEO4J_URI and CLICKHOUSE_ADDR name, or on
// those that the script SLIPSTREAM_SERVICES starts; without either only what runs on the embedded
// engines is measured. Load is bounded in count and time and goes to these addresses only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	only     []string
	out      string
	repeat   int
	smoke    bool
	keep     bool
	match    string
	profiles string

	adapterEvents int
	backlog       int
	long          int
	liveSeconds   int
	rates         []int
	manyItems     int
	soak          time.Duration
	soakRate      int
}

var sections = []string{"adapter", "pipeline", "freshness", "serving", "growth", "soak"}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if err := child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench child:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	work, args := run, os.Args[1:]
	if len(args) > 0 && args[0] == "pairs" {
		work, args = pairs, args[1:]
	}
	err := work(ctx, args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	var only, rates string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(
		&only, "only", "adapter,pipeline,freshness,serving,growth",
		"sections, separated by commas; soak is the one that is not run by default",
	)
	f.StringVar(&o.out, "out", "../../docs/bench", "folder of the tables and charts")
	f.IntVar(&o.repeat, "repeat", 3, "runs of each variant of the adapter")
	f.BoolVar(
		&o.smoke, "smoke", false, "small counts; check what comes out, not how fast; write nothing",
	)
	f.BoolVar(&o.keep, "keep", false, "keep logs of the processes measured")
	f.StringVar(
		&o.match, "match", "",
		"in pipeline and growth only what has this in its label, such as \"real: everything\"",
	)
	f.StringVar(
		&o.profiles, "profiles", "",
		"folder for profiles (cpu, allocs, block) of the processes measured; costs a little",
	)
	f.IntVar(&o.adapterEvents, "events", 1_000_000, "events of the adapter")
	f.IntVar(&o.backlog, "backlog", 100_000, "events of a backlog in pipeline and growth")
	f.IntVar(&o.long, "long-backlog", 1_000_000, "events of the long backlog in growth")
	f.IntVar(&o.liveSeconds, "live", 20, "seconds of live traffic in pipeline and freshness")
	f.StringVar(&rates, "rates", "200,1000,4000", "events a second in freshness")
	f.IntVar(&o.manyItems, "many-items", 100_000, "items of the large catalog in serving")
	f.DurationVar(&o.soak, "soak", 10*time.Minute, "length of the soak")
	f.IntVar(&o.soakRate, "soak-rate", 1000, "events a second of the soak")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if o.smoke {
		o.shrink()
		only = strings.TrimSuffix(only, ",growth") // the rest looks at the same code
	} else {
		for _, r := range strings.Split(rates, ",") {
			var n int
			if _, err := fmt.Sscan(r, &n); err != nil || n <= 0 {
				return nil, fmt.Errorf("-rates %q: want positive numbers", rates)
			}
			o.rates = append(o.rates, n)
		}
	}
	o.only = strings.Split(only, ",")
	for _, s := range o.only {
		if !slices.Contains(sections, s) {
			return nil, fmt.Errorf("-only %q: want some of %s", s, strings.Join(sections, ", "))
		}
	}
	return o, nil
}

// shrink makes everything small enough for a minute in all.
func (o *options) shrink() {
	o.repeat, o.adapterEvents, o.backlog, o.liveSeconds = 1, 5000, 3000, 2
	o.rates, o.manyItems = []int{200}, 1000
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	b := &bench{o: o, engines: findEngines(ctx)}
	if b.dir, err = os.MkdirTemp("", "slipstream-bench-"); err != nil {
		return err
	}
	if !o.keep {
		defer os.RemoveAll(b.dir)
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	defer b.cleanUp(context.WithoutCancel(ctx))
	work := map[string]func(context.Context) (*section, error){
		"adapter": b.adapter, "pipeline": b.pipeline, "freshness": b.freshness,
		"serving": b.serving, "growth": b.growth, "soak": b.soak,
	}
	var errs []error
	for _, name := range o.only {
		b.say("== %s", name)
		s, err := work[name](ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			fmt.Fprintln(os.Stderr, errs[len(errs)-1])
			if ctx.Err() != nil {
				break
			}
			continue
		}
		s.Name, s.Machine, s.Date, s.Command = name, machine(), time.Now().
			UTC().
			Format("2006-01-02 15:04 UTC"),
			"make bench ARGS='"+strings.Join(
				shown(args),
				" ",
			)+"'"
		if s.Load = loadAverage(); o.smoke {
			fmt.Print(s.markdown())
			continue
		}
		errs = append(errs, s.write(o.out))
	}
	if !o.smoke {
		errs = append(errs, writeIndex(o.out))
	}
	return errors.Join(errs...)
}

// shown leaves out where the results went.
func shown(args []string) []string {
	args = slices.Clone(args)
	if i := slices.Index(args, "-out"); i >= 0 && i+1 < len(args) {
		args = slices.Delete(args, i, i+2)
	}
	return args
}

// bench is one run.
type bench struct {
	o        *options
	engines  engines
	dir      string
	product  string // the binary measured
	leftover []func(context.Context)
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(
		os.Stderr,
		"%s "+format+"\n",
		append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// later registers what is to be removed from the engines at the end.
func (b *bench) later(f func(context.Context)) { b.leftover = append(b.leftover, f) }

func (b *bench) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, f := range slices.Backward(b.leftover) {
		f(ctx)
	}
}

// build makes the product's binary.
func (b *bench) build(ctx context.Context) error {
	root, err := productRoot()
	if err != nil {
		return err
	}
	b.product = filepath.Join(b.dir, "slipstream")
	return command(ctx, root, "go", "build", "-o", b.product, "./cmd/slipstream")
}
