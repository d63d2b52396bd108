// Command mutants measures the tests of the processors. It changes the code of embed, catalog and
// recommend in many small ways, one at a time, and runs the package's own tests on each mutant. A
// mutant that no test notices has survived, and names a fault that could come in unseen.
//
// Nothing in the tree is changed: the go command gets the mutants as an overlay. Mutants are chosen
// by a hash of the seed, of the function and of the change, so the choice is the same on every
// machine and hardly moves when lines do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options says what is mutated and how many mutants must die.
type options struct {
	pattern string        // packages, as the go command names them
	units   []string      // words that file and type names begin with
	seed    uint64        // chooses among the mutants
	count   int           // how many to run
	share   float64       // the share of them that must be killed
	timeout time.Duration // of one run of the tests
	list    bool          // name the mutants and run none
	only    string        // run those whose name contains it
}

func main() {
	opt := options{}
	units := flag.String("units", "embed,catalog,recommend",
		"what is mutated: files and types whose name begins with one of these words")
	flag.StringVar(&opt.pattern, "packages", "./processors/...", "packages whose code is mutated")
	flag.Uint64Var(&opt.seed, "seed", 1, "chooses among the possible mutants")
	flag.IntVar(&opt.count, "count", 100, "how many mutants to run")
	flag.Float64Var(&opt.share, "share", 0.8, "the share of them that must be killed")
	flag.DurationVar(&opt.timeout, "timeout", time.Minute, "after it a mutant counts as killed")
	flag.BoolVar(&opt.list, "list", false, "list the mutants that would run")
	flag.StringVar(&opt.only, "only", "", "run only the chosen mutants whose name contains this")
	flag.Parse()
	opt.units = strings.Split(*units, ",")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, ".", opt, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// errSurvived says that too many mutants are alive.
var errSurvived = errors.New("too many mutants survived")

// run chooses mutants of the module in dir, runs the tests on each, and writes the report to out.
func run(ctx context.Context, dir string, opt options, out io.Writer) error {
	packages, err := load(ctx, dir, opt.pattern)
	if err != nil {
		return err
	}
	chosen, broken, err := choose(packages, opt)
	if err != nil {
		return err
	}
	if opt.only != "" {
		chosen = matching(chosen, opt.only)
	}
	fmt.Fprintf(out, "%d mutants, seed %d; %d others do not compile and are not counted\n",
		len(chosen), opt.seed, broken)
	if opt.list {
		for _, m := range chosen {
			fmt.Fprintln(out, m.name())
		}
		return nil
	}
	tmp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	binaries, err := build(ctx, dir, tmp, packages, chosen)
	if err != nil {
		return err
	}
	if v, output, err := test(ctx, binaries, 0, opt.timeout); err != nil {
		return err
	} else if v != survived {
		return fmt.Errorf("the tests fail without a mutant:\n%s", output)
	}
	return report(ctx, binaries, chosen, opt, out)
}

// report tests the mutants one after the other.
func report(
	ctx context.Context, binaries []testBinary, chosen []*mutant, opt options, out io.Writer,
) error {
	var alive []*mutant
	counts := make(map[verdict]int)
	for i, m := range chosen {
		v, output, err := test(ctx, binaries, i+1, opt.timeout)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name(), err)
		}
		counts[v]++
		fmt.Fprintf(out, "%-9s %s%s\n", v, m.name(), killer(v, output))
		if v == survived {
			alive = append(alive, m)
		}
	}
	if len(alive) > 0 {
		fmt.Fprintf(out, "\nsurvivors:\n")
		for _, m := range alive {
			fmt.Fprintf(out, "\n%s\n%s", m.name(), m.diff())
		}
	}
	dead := counts[killed] + counts[timedOut]
	fmt.Fprintf(out, "\n%d of %d mutants killed (%d by the time limit), %d survived\n",
		dead, len(chosen), counts[timedOut], counts[survived])
	if float64(dead) < opt.share*float64(len(chosen)) || len(chosen) == 0 {
		return fmt.Errorf("%w: %d of %d were killed, %.0f %% must be",
			errSurvived, dead, len(chosen), 100*opt.share)
	}
	return nil
}

func matching(all []*mutant, part string) []*mutant {
	var out []*mutant
	for _, m := range all {
		if strings.Contains(m.name(), part) {
			out = append(out, m)
		}
	}
	return out
}
