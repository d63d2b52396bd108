package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app/dev"
	"github.com/slipstream-rec/slipstream/rebuild"
)

func newRebuild() *cobra.Command {
	var (
		store         string
		wait, partial bool
	)
	cmd := &cobra.Command{
		Use:   "rebuild --store qdrant|neo4j|clickhouse|embedded",
		Short: "Rebuild a store from the log, beside the live one",
		Long: `Rebuild a store from the log: after the store or Kafka was wiped, after committed
offsets expired, or when the layout of the store changes.

The new store is filled beside the live one, up to the positions of its processors. It replaces the
live store once they have stopped. When they start again, they continue at exactly these positions.
Until then the live store is untouched. An interrupted rebuild can be run again; it starts over.

  qdrant      new collections behind the same aliases. embed has to stop for the last step. Users
              keep their history, seen items and counts; their vectors are computed from the current
              item factors
  clickhouse  a second database whose tables are exchanged with the live ones. analytics has to stop
              for the last step
  neo4j       the graph is emptied and every edge is applied again. Nothing has to stop. Friends are
              missing meanwhile
  embedded    the file of "slipstream dev", which must not run

A rebuild reaches as far back as the log: topics.retention for interactions and friendships, 30 days
for served lists and dead letters. If the beginning of the log is gone, --partial is required.`,
		Example: "  slipstream rebuild --store qdrant --wait\n  slipstream rebuild --store " +
			"embedded --data .slipstream",
		Args: cobra.NoArgs,
	}
	s := addSettings(cmd, kafkaFlags(storeFlags(), map[string]string{"data": "data_dir"}), nil)
	f := cmd.Flags()
	f.StringVar(
		&store, "store", "", "the store to rebuild: qdrant, neo4j, clickhouse or embedded",
	)
	f.BoolVar(
		&wait, "wait", false,
		"fill the new store while the processors run, then wait until they have been stopped",
	)
	f.BoolVar(
		&partial, "partial", false,
		"accept that the beginning of the log is gone, so that its events are missing",
	)
	_ = cmd.MarkFlagRequired("store")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if store == "embedded" {
			s.defaults = dev.Defaults
		}
		cfg, log, err := s.load(cmd)
		if err != nil {
			return err
		}
		o := rebuild.Options{Store: store, Wait: wait, AcceptPartial: partial, Log: log}
		var end func()
		o.Say, o.Progress, end = report(cmd.OutOrStdout(), cmd.ErrOrStderr(), "rebuilding "+store)
		defer end()
		return rebuild.Run(cmd.Context(), cfg, o)
	}
	return cmd
}

// report returns the callbacks that show a rebuild: lines of text, and a progress bar below them.
func report(
	out, errOut io.Writer,
	what string,
) (say func(string, ...any), progress func(done, total int64), end func()) {
	bar := progressbar.NewOptions64(
		1,
		progressbar.OptionSetWriter(errOut),
		progressbar.OptionSetVisibility(dev.IsTerminal(errOut)),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("offsets"),
		progressbar.OptionThrottle(200*time.Millisecond),
	)
	var mu sync.Mutex
	say = func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_ = bar.Clear()
		fmt.Fprintf(out, format+"\n", args...)
	}
	progress = func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if bar.GetMax64() != total {
			bar.ChangeMax64(max(total, 1))
		}
		_ = bar.Set64(min(done, total))
	}
	return say, progress, func() {
		if dev.IsTerminal(errOut) {
			fmt.Fprintln(errOut)
		}
	}
}
