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
		Short: "Make a store anew from the log, beside the live one",
		Long: `Make a store anew from the log: when it was wiped, when Kafka was, when offsets have expired, or when its layout changes.

The new store is filled beside the live one, up to where its processors stand, and takes its place when they have stopped; when they start
again they go on exactly there. Until then the live store is untouched: a rebuild that is interrupted can be started again and starts over.

  qdrant      new collections behind the same aliases; embed has to stop for the last step. Users get their history, seen items and
              counts as they were, their vectors by the item factors as they are now
  clickhouse  a second database whose tables are exchanged with the live ones; analytics has to stop for the last step
  neo4j       the graph is emptied and every edge applied again; nothing has to stop, friends are missing meanwhile
  embedded    the file of "slipstream dev", which must not run

It reaches as far back as the log: topics.retention for interactions and friendships, 30 days for served lists and dead letters.
A log whose beginning is gone is refused unless --partial is given.`,
		Example: "  slipstream rebuild --store qdrant --wait\n  slipstream rebuild --store " +
			"embedded --data .slipstream",
		Args: cobra.NoArgs,
	}
	s := addSettings(cmd, kafkaFlags(storeFlags(), map[string]string{"data": "data_dir"}), nil)
	f := cmd.Flags()
	f.StringVar(
		&store, "store", "", "the store to make anew: qdrant, neo4j, clickhouse or embedded",
	)
	f.BoolVar(
		&wait, "wait", false,
		"fill the new store while the processors run, then wait until they have been stopped",
	)
	f.BoolVar(
		&partial, "partial", false,
		"accept that the beginning of the log is gone, and what stood there with it",
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

// report returns how a rebuild speaks to a person: lines, and a bar below them.
func report(
	out, errOut io.Writer,
	what string,
) (say func(string, ...any), progress func(done, total int64), end func()) {
	bar := progressbar.NewOptions64(
		1,
		progressbar.OptionSetWriter(errOut),
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
	return say, progress, func() { fmt.Fprintln(errOut) }
}
