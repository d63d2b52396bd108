package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// figure is a column that is compared, with its values in the runs of both versions.
type figure struct {
	label, column string
	more          bool // more is better
	base, here    []float64
}

// tolerated is the loss in percent that is accepted whatever its standard error.
const tolerated = 3

// pairs runs the benchmarks of another checkout and of this one in turn and compares the figures of
// each pair, so that a machine whose speed drifts is no difference. Rows are compared by their
// place. It returns an error if a figure is worse by more than 3 % and by more than two standard
// errors of the paired differences.
func pairs(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("bench pairs", flag.ContinueOnError)
	base := f.String("base", "", "checkout of the version to compare with")
	n := f.Int("n", 3, "pairs")
	out := f.String("out", "../../docs/bench/pairs.md", "where the table is written")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *base == "" || *n < 2 {
		return errors.New("-base CHECKOUT is needed, and at least two pairs")
	}
	here, err := productRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "slipstream-pairs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var order []*figure
	figures := make(map[string]*figure)
	for i := range *n {
		sides := []string{*base, here}
		if i%2 == 1 { // neither is always the first
			sides[0], sides[1] = sides[1], sides[0]
		}
		for _, side := range sides {
			to := filepath.Join(dir, strconv.Itoa(i), strconv.FormatBool(side == here))
			if err := runBench(ctx, side, to, f.Args()); err != nil {
				return fmt.Errorf("pair %d in %s: %w", i+1, side, err)
			}
			if err := collect(to, side == here, figures, &order); err != nil {
				return err
			}
		}
	}
	w, err := os.Create(*out)
	if err != nil {
		return err
	}
	defer w.Close()
	worse := printPairs(io.MultiWriter(w, os.Stdout), order, *n, commitOf(ctx, *base),
		commitOf(ctx, here), strings.Join(f.Args(), " "))
	if worse > 0 {
		return fmt.Errorf("%d figures are worse than before", worse)
	}
	return w.Close()
}

// runBench runs the benchmarks of a checkout. They stood in bench/ once.
func runBench(ctx context.Context, root, out string, args []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	dir := filepath.Join(root, "test", "bench")
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Join(root, "bench")
	}
	c := exec.CommandContext(ctx, "go", append([]string{"run", ".", "-out", out}, args...)...)
	c.Dir, c.Stdout, c.Stderr = dir, os.Stderr, os.Stderr
	return c.Run()
}

func commitOf(ctx context.Context, root string) string {
	c := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD")
	c.Dir = root
	out, err := c.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// collect reads the speeds and costs of a run.
func collect(dir string, here bool, figures map[string]*figure, order *[]*figure) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var s section
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, t := range s.Tables {
			for i, row := range t.Rows {
				for j, column := range t.Columns {
					speed := column == "events/s"
					if !speed && !strings.HasPrefix(column, "CPU s") &&
						!strings.HasPrefix(column, "ours, CPU") {
						continue
					}
					value, ok := leading(row[j])
					if !ok {
						continue
					}
					key := fmt.Sprint(s.Name, t.Title, i, j)
					x := figures[key]
					if x == nil {
						x = &figure{column: column, more: speed}
						figures[key] = x
						*order = append(*order, x)
					}
					if here {
						x.label, x.here = s.Name+", "+t.Title+": "+row[0], append(x.here, value)
					} else {
						x.base = append(x.base, value)
					}
				}
			}
		}
	}
	return nil
}

// leading returns the number that a cell begins with.
func leading(cell string) (float64, bool) {
	cell, _, _ = strings.Cut(strings.ReplaceAll(cell, ",", ""), " ")
	x, err := strconv.ParseFloat(cell, 64)
	return x, err == nil
}

// printPairs writes the table and returns how many figures are worse.
func printPairs(w io.Writer, order []*figure, n int, base, here, args string) int {
	fmt.Fprintf(w, `# Two versions in pairs

%s (old) against %s (new), %d pairs, run in turn on one machine: %s; %s UTC. Benchmarks: %s.

Difference: mean over the pairs of new against old, in percent. A figure is worse when it loses more
than %d %% and more than two standard errors.

| figure | unit | old | new | difference | standard error | |
| --- | --- | ---: | ---: | ---: | ---: | --- |
`, base, here, n, machine(), time.Now().UTC().Format("2006-01-02 15:04"), args, tolerated)
	worse := 0
	for _, x := range order {
		if len(x.base) != n || len(x.here) != n {
			continue
		}
		diff := make([]float64, n)
		for i := range diff {
			diff[i] = 100 * (x.here[i]/x.base[i] - 1)
		}
		mean, se := meanAndError(diff)
		loss := mean
		if x.more {
			loss = -mean
		}
		verdict := "as before"
		if loss > tolerated && loss > 2*se {
			verdict = "**worse**"
			worse++
		} else if -loss > tolerated && -loss > 2*se {
			verdict = "better"
		}
		before, _ := meanAndError(x.base)
		now, _ := meanAndError(x.here)
		fmt.Fprintf(w, "| %s | %s | %.4g | %.4g | %+.1f %% | %.1f | %s |\n",
			x.label, x.column, before, now, mean, se, verdict)
	}
	return worse
}

// meanAndError returns the mean and its standard error.
func meanAndError(xs []float64) (mean, se float64) {
	for _, x := range xs {
		mean += x
	}
	mean /= float64(len(xs))
	for _, x := range xs {
		se += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(se / float64(len(xs)-1) / float64(len(xs)))
}
