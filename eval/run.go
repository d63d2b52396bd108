package eval

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/model"
)

// Methods names what can stand side by side in a report, in the order of the table.
func Methods() []string {
	return []string{"model", "full", "lagged", "markov", "cosine", "popularity", "bpr"}
}

// DefaultMethods are the methods of a report when none are named.
func DefaultMethods() []string {
	return []string{"model", "full", "markov", "cosine", "popularity", "bpr"}
}

// Setup is what methods are made from.
type Setup struct {
	Model model.Config
	Blend model.Blend
	Lag   Lag
}

// DefaultSetup is the configuration that serves. Lagged is spread over 4 partitions with a window
// of two events per three items, between 64 and 1,000, and ranks by 8-bit vectors.
func DefaultSetup(d *Data) Setup {
	window := min(max(len(d.Items)*2/3, 64), 1000)
	return Setup{
		Model: model.Default(), Blend: model.DefaultBlend(),
		Lag: Lag{Partitions: 4, Window: window, Int8: true},
	}
}

// New returns the method of that name with nothing learned.
func (s Setup) New(name string, d *Data) (Method, error) {
	switch name {
	case "model":
		return NewBare(d, s.Model), nil
	case "full":
		return NewFull(d, s.Model, s.Blend), nil
	case "lagged":
		return NewLagged(d, s.Model, s.Lag), nil
	case "markov":
		return NewMarkov(d, 20, 0.8), nil
	case "cosine":
		return NewCosine(d, 10, 0.8), nil
	case "popularity":
		return NewPopularity(d, 20_000), nil
	case "bpr":
		return NewBPR(d, 64, 10), nil
	}
	return nil, fmt.Errorf(
		"method %q is unknown: want some of %s", name, strings.Join(Methods(), ", "),
	)
}

// Run is one evaluation: what to judge and where to write.
type Run struct {
	// Name of the data in the report.
	Name string
	Data *Data
	// HeldOut makes it a leave-one-out evaluation.
	HeldOut []HeldOut
	Options Options
	Setup   Setup
	// Methods are judged one after another. Empty: DefaultMethods.
	Methods []string
	// ListsFile gets the lists of the first method; "" writes none.
	ListsFile string
	// ChartFile gets the chart of a prequential evaluation; "" writes none.
	ChartFile string
	// Progress is called now and then; it may be nil.
	Progress func(method string, done, of int)
}

// Do judges every method and returns the report.
func (r Run) Do(ctx context.Context) (*Report, error) {
	if err := r.Setup.Model.Validate(); err != nil {
		return nil, err
	}
	if len(r.Methods) == 0 {
		r.Methods = DefaultMethods()
	}
	for n, name := range r.Methods {
		if slices.Contains(r.Methods[:n], name) {
			return nil, fmt.Errorf("method %q is named twice", name)
		}
		if !slices.Contains(Methods(), name) {
			_, err := r.Setup.New(name, r.Data)
			return nil, err
		}
	}
	o := r.Options.withDefaults()
	users := map[int32]bool{}
	for _, e := range r.Data.Events {
		users[e.User] = true
	}
	report := &Report{
		Data: r.Name, Users: len(users), Items: len(r.Data.Items), Events: len(r.Data.Events),
		Sample: o.Sample, Warmup: o.Warmup, K: o.K,
		Machine: fmt.Sprintf(
			"%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
			runtime.Version(),
		),
	}
	start := time.Now()
	for n, name := range r.Methods {
		if err := r.method(ctx, report, name, n == 0); err != nil {
			return nil, fmt.Errorf("judge %s: %w", name, err)
		}
	}
	report.Duration = time.Since(start).Seconds()
	if r.ChartFile != "" {
		if err := r.chart(report); err != nil {
			return nil, err
		}
	}
	return report, nil
}

func (r Run) method(ctx context.Context, report *Report, name string, first bool) (err error) {
	m, err := r.Setup.New(name, r.Data)
	if err != nil {
		return err
	}
	o := r.Options
	if r.Progress != nil {
		o.Progress = func(done int) { r.Progress(m.Name(), done, len(r.Data.Events)) }
	}
	if first && r.ListsFile != "" {
		add, done, openErr := r.lists()
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, done()) }()
		o.OnList = add
	}
	if r.HeldOut != nil {
		x, err := LeaveOneOut(ctx, r.Data, r.HeldOut, m, o)
		report.LeaveOneOut = append(report.LeaveOneOut, x)
		return err
	}
	x, err := Prequential(ctx, r.Data, m, o)
	report.Prequential = append(report.Prequential, x)
	return err
}

// lists opens the file of lists; done writes the rest and closes it.
func (r Run) lists() (add func(Event, []int32) error, done func() error, err error) {
	f, err := os.Create(r.ListsFile)
	if err != nil {
		return nil, nil, err
	}
	lists, err := NewLists(f, r.Data)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return lists.Add, func() error { return errors.Join(lists.Flush(), f.Close()) }, nil
}

func (r Run) chart(report *Report) (err error) {
	if len(report.Prequential) == 0 {
		return errors.New("a chart needs a prequential evaluation")
	}
	f, err := os.Create(r.ChartFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return Chart(
		f, fmt.Sprintf("Recall@%d over the stream: %s", report.K, r.Name), report.Prequential,
	)
}
