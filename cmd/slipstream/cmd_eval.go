package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app/dev"
	"github.com/slipstream-rec/slipstream/eval"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/producers/datasets"
)

func newEval() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Measure the quality of recommendations on a data set, against baselines",
		Long: `Eval streams a data set through the production model in time order and measures the
quality of the lists made on the way. It starts no engine and stores nothing.`,
	}
	cmd.AddCommand(newEvalPrequential(), newEvalLeaveOneOut())
	return cmd
}

// evalFlags are the flags of both kinds of evaluation.
type evalFlags struct {
	k                         int
	methods                   []string
	json, quiet               bool
	lists                     string
	dim, negatives            int
	contentWeight, friendEven float64
	newShare                  float64
	partitions, window        int
	int8                      bool
}

func addEvalFlags(cmd *cobra.Command) *evalFlags {
	e := &evalFlags{}
	d := model.Default()
	f := cmd.Flags()
	f.IntVarP(&e.k, "k", "k", 10, "length of the lists judged")
	f.StringSliceVar(
		&e.methods, "methods", eval.DefaultMethods(),
		"what to judge, side by side: "+strings.Join(eval.Methods(), ", "),
	)
	f.BoolVar(&e.json, "json", false, "write the report as JSON")
	f.BoolVarP(&e.quiet, "quiet", "q", false, "show no progress")
	f.StringVar(
		&e.lists, "lists", "",
		"write the lists of the first method to this file, as CSV: user,item,timestamp,list",
	)
	f.IntVar(&e.dim, "model-dim", d.Dim, "length of the model's vectors")
	f.IntVar(
		&e.negatives, "model-negatives", d.Negatives, "negative items sampled per positive event",
	)
	f.Float64Var(
		&e.contentWeight, "content-weight", d.ContentWeight,
		"how much the content of a new item counts, with --content",
	)
	f.Float64Var(
		&e.newShare, "new-share", model.DefaultBlend().NewShare,
		"for the method full, with --content: share of each list that is kept for new items",
	)
	f.Float64Var(
		&e.friendEven, "friend-weight", d.FriendWeight,
		"number of own events at which friends count half, with --friends",
	)
	f.IntVar(&e.partitions, "lag-partitions", 4, "for the method lagged: partitions of users")
	f.IntVar(
		&e.window, "lag-window", 0,
		"for the method lagged: events between two exchanges of gradients and item factors (0: "+
			"two per three items, 64 to 1,000)",
	)
	f.BoolVar(&e.int8, "lag-int8", true, "for the method lagged: rank by vectors of 8 bits")
	return e
}

// evalNumbers are the flags of both kinds that must not be negative.
func evalNumbers() []string {
	return []string{
		"k", "model-dim", "model-negatives", "content-weight", "new-share", "friend-weight",
		"lag-partitions", "lag-window",
	}
}

func (e *evalFlags) run(cmd *cobra.Command, r eval.Run) error {
	r.Setup = eval.DefaultSetup(r.Data)
	r.Setup.Model.Dim, r.Setup.Model.Negatives = e.dim, e.negatives
	r.Setup.Model.ContentWeight, r.Setup.Model.FriendWeight = e.contentWeight, e.friendEven
	r.Setup.Blend.NewShare = e.newShare
	r.Setup.Lag.Partitions, r.Setup.Lag.Int8 = e.partitions, e.int8
	if e.window > 0 {
		r.Setup.Lag.Window = e.window
	}
	if e.partitions < 1 || e.window < 0 {
		return fmt.Errorf(
			"--lag-partitions is %d, --lag-window is %d: want at least 1 and 0", e.partitions,
			e.window,
		)
	}
	r.Options.K, r.Methods, r.ListsFile = e.k, e.methods, e.lists
	if e.k < 1 {
		return fmt.Errorf("--k is %d: want at least 1", e.k)
	}
	if !e.quiet {
		r.Progress = progress(cmd.ErrOrStderr())
	}
	report, err := r.Do(cmd.Context())
	if err != nil {
		return err
	}
	if e.json {
		return report.WriteJSON(cmd.OutOrStdout())
	}
	return report.WriteText(cmd.OutOrStdout())
}

// progress shows one bar per method, refreshed at most ten times a second.
func progress(w io.Writer) func(method string, done, of int) {
	var bar *progressbar.ProgressBar
	current := ""
	return func(method string, done, of int) {
		if method != current {
			if bar != nil {
				_ = bar.Finish()
			}
			current = method
			bar = progressbar.NewOptions(
				of,
				progressbar.OptionSetWriter(w),
				progressbar.OptionSetVisibility(dev.IsTerminal(w)),
				progressbar.OptionSetDescription(method),
				progressbar.OptionShowCount(),
				progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish(),
			)
		}
		_ = bar.Set(done)
	}
}

func newEvalPrequential() *cobra.Command {
	var (
		set              datasets.Config
		format, chart    string
		sample, warmup   float64
		windows          int
		content, friends bool
		takenAgain       bool
	)
	cmd := &cobra.Command{
		Use: "prequential", Short: "Test, then learn, for each event in time order",
		Long: `Before each event, all items that the user has not taken are ranked. Then the event
is learned. An item seen for the first time cannot be ranked and counts as a miss. The first tenth
of the stream is learned only. Of the other events about 100,000 are judged by default, chosen by a
hash of their position. --sample 1 judges all, and so does --lists unless --sample is given.`,
		Example: `  slipstream eval prequential --format ml-100k --path ml-100k.zip
  slipstream eval prequential --format csv --path events.csv --methods model --lists lists.csv`,
		Args: cobra.NoArgs,
	}
	e := addEvalFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&set.Path, "path", "", "folder, zip or file of the data set")
	f.StringVar(
		&format, "format", "",
		"ml-100k, ml-1m, ml-latest, hetrec-lastfm or csv (user,item,timestamp[,value] with a "+
			"header); empty: detected",
	)
	f.StringVar(
		&set.Items, "items", "",
		"CSV with more about the items: item_id and any of title, genres, directors, actors, "+
			"tags (lists separated by |)",
	)
	f.BoolVar(&content, "content", false, "let the items' content help new items")
	f.BoolVar(&friends, "friends", false, "let friends help new users")
	f.BoolVar(
		&takenAgain, "taken-again", false,
		"items that a user has taken may be recommended again (music), and are judged",
	)
	f.BoolVar(
		&set.TimedOnly, "timed-only", false,
		"leave out interactions without a time in the data set",
	)
	f.Float64Var(&sample, "sample", 0, "share of the events judged")
	f.Float64Var(
		&warmup, "warmup", 0.1, "share of the stream, from its start, that is only learned",
	)
	f.IntVar(&windows, "windows", 20, "parts of the stream, for quality over time")
	f.StringVar(&chart, "chart", "", "write a chart of quality over the stream to this SVG file")
	_ = cmd.MarkFlagRequired("path")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		set.Format = datasets.Format(format)
		ds, err := datasets.Open(cmd.Context(), set)
		if err != nil {
			return err
		}
		data := eval.FromDataset(ds, content, friends)
		if !cmd.Flags().Changed("sample") {
			sample = 1
			if most := 100_000.0; e.lists == "" {
				sample = min(1, most/float64(len(data.Events)))
			}
		}
		return e.run(cmd, eval.Run{
			Name: string(ds.Format()), Data: data, ChartFile: chart,
			Options: eval.Options{
				Sample: sample, Warmup: warmup, Windows: windows, TakenAgain: takenAgain,
			},
		})
	}
	notNegative(cmd, append(evalNumbers(), "sample", "warmup", "windows")...)
	return cmd
}

func newEvalLeaveOneOut() *cobra.Command {
	var train, test, negatives string
	cmd := &cobra.Command{
		Use:   "leave-one-out",
		Short: "Stream the train file once, then find each user's held-out item",
		Long: `The files are those of the neural collaborative filtering benchmark (He et al. 2017),
plain or gzipped: train and test hold user, item, rating and timestamp, separated by tabs; negatives
holds (user,item) and item numbers. The held-out item is ranked among its negatives, and among all
items that the user has not taken.`,
		Example: "  slipstream eval leave-one-out --train ml-1m.train.rating " +
			"--test ml-1m.test.rating --negatives ml-1m.test.negative",
		Args: cobra.NoArgs,
	}
	e := addEvalFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&train, "train", "", "events to stream, in any order")
	f.StringVar(&test, "test", "", "one held-out item per user")
	f.StringVar(
		&negatives, "negatives", "",
		"items among which each held-out item is ranked; empty: only the whole catalog",
	)
	_ = cmd.MarkFlagRequired("train")
	_ = cmd.MarkFlagRequired("test")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, path := range []string{train, test} {
			if _, err := os.Stat(path); err != nil {
				return err
			}
		}
		data, held, err := eval.ReadNCF(train, test, negatives)
		if err != nil {
			return err
		}
		return e.run(cmd, eval.Run{Name: filepath.Base(train), Data: data, HeldOut: held})
	}
	notNegative(cmd, evalNumbers()...)
	return cmd
}
