// Package rebuild makes a store anew from the log, beside the live one.
package rebuild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Options say what to rebuild and how.
type Options struct {
	// Store is qdrant, neo4j, clickhouse or embedded.
	Store string
	// Wait waits for groups that have to stop. Without it they must have stopped before.
	Wait bool
	// AcceptPartial accepts a log whose beginning has been deleted.
	AcceptPartial bool
	// Say tells the operator something. Progress is told of offsets filled and of how many there
	// are in all.
	Say      func(format string, args ...any)
	Progress func(done, total int64)
	// Log gets what an operator need not read.
	Log *slog.Logger
}

// Run makes one store anew from the log. It fills the new one up to where the store's consumer
// groups stand, while they go on with the old one. When they have stopped it covers the rest and
// switches, so that they continue with the new store exactly where they left the old one: positions
// stay as they are, and an uncertain batch intent is repeated by the group itself. The other stores
// may be down.
func Run(ctx context.Context, cfg config.Config, o Options) error {
	actions, err := app.Actions(cfg)
	if err != nil {
		return err
	}
	r := &rebuild{Options: o, cfg: cfg, actions: actions}
	return r.connectAndRun(ctx)
}

// rebuild is one run.
type rebuild struct {
	Options
	cfg   config.Config
	kafka *app.Kafka
	logID string
	// epoch is the log's.
	epoch int
	// actions is the table of actions that the configuration declares.
	actions *schemas.Actions

	store storeRebuild
	// erasures are those known at the start; letters the same with the time when the log took them.
	erasures, letters *processors.Erasures
	filled            map[partitionOf]int64
	// pasts tell, for each group, which records became dead letters.
	pasts map[string]*deadletter.Past
	// began is, by partition of interactions, from where on embed has forwarded misplaced events.
	began                map[int]int64
	done, total, skipped atomic.Int64
}

// storeRebuild is a store that is being made anew.
type storeRebuild interface {
	// groups fill the store. Of these, exclusive must not run while it switches: they hold in
	// memory what the old store says.
	groups() (all, exclusive []string)
	// begin makes the new store, empty, and drops what an earlier rebuild left behind.
	begin(ctx context.Context) error
	// fill hands it the spans of the places that it has not had yet.
	fill(ctx context.Context, places []place) error
	// finish makes it the live one and drops the old one. It returns what it holds, for a person.
	finish(ctx context.Context) (string, error)
}

// learner is a storeRebuild that holds what the learner has learned.
type learner interface {
	// learned returns what the item factors have absorbed.
	learned() processors.Learned
}

// topicsOf are the topics that make up what a group has written to its store.
func topicsOf(group string) []string {
	d, _ := processors.Declared(group)
	return d.Topics()
}

// place is where a group stands on a partition and how far the store is to be filled there.
type place struct {
	group string
	// span is what the store has to take, from the beginning of the log; empty for catalog, whose
	// items come from compacted topics as a whole.
	span processors.Span
	// reset is why the group's position cannot stay, "" when it can; then at is where it is set.
	reset string
	at    int64
}

func (p *place) tp() record.TopicPartition {
	return record.TopicPartition{Topic: p.span.Topic, Partition: p.span.Partition}
}

// partitionOf is a partition as one group reads it: several groups read some.
type partitionOf struct {
	group, topic string
	partition    int
}

func (p *place) key() partitionOf { return partitionOf{p.group, p.span.Topic, p.span.Partition} }

// places returns where the groups stand. stopped says that they will not move any more: then a
// partition without a position is covered to its end.
func (r *rebuild) places(ctx context.Context, stopped bool) ([]place, error) {
	all, _ := r.store.groups()
	ask := make(map[string][]string)
	for _, g := range all {
		ask[g] = topicsOf(g)
	}
	lags, err := admin.Lag(ctx, r.kafka.Conn(), ask)
	if err != nil {
		return nil, fmt.Errorf("read the positions of %v: %w", all, err)
	}
	out := make([]place, len(lags))
	for i := range lags {
		l := &lags[i]
		p := place{
			group: l.Group,
			span:  processors.Span{Topic: l.Topic, Partition: l.Partition, From: l.First},
		}
		p.at, p.reset = resolvePosition(l)
		if stopped && l.End > l.First {
			if err := r.recover(ctx, &p, l); err != nil {
				return nil, err
			}
		}
		switch p.span.To = p.at; p.group {
		case schemas.GroupGraph:
			// edges do not depend on order or repetition: no position matters
			p.span.To = l.End
		case schemas.GroupCatalog:
			p.span.To = p.span.From
		}
		out[i] = p
	}
	return out, nil
}

// recover finds where a group goes on that has lost its position on a partition with records.
func (r *rebuild) recover(ctx context.Context, p *place, l *admin.PartitionLag) error {
	const lost = "it had none: it expired, or the log is new"
	switch {
	case p.group == schemas.GroupAnalytics && l.Committed < 0:
		p.at, p.reset = l.End, lost
	case p.group == schemas.GroupEmbed:
		// What was learned must not be learned twice, and what was not must not be left out.
		learned, reset := r.learned(), "what stands before was learned already: the group had "+
			"lost its position and begun anew"
		if l.Committed < 0 {
			reset = lost
			if err := learned.Due(ctx, r.kafka, r.cfg.Topics.Partitions); err != nil {
				return err
			}
		}
		after := max(l.Committed, l.First)
		if intent, err := record.ParseIntent(l.Metadata); err == nil && intent != nil {
			after = intent.Last + 1
		}
		if at := learned.Next(r.epoch, p.span.Topic, p.span.Partition); at > after &&
			at <= l.HighWatermark {
			p.at, p.reset = at, reset
		}
	}
	return nil
}

// learned returns what the new store's item factors have absorbed, nil for a store without any.
func (r *rebuild) learned() processors.Learned {
	if l, ok := r.store.(learner); ok {
		return l.learned()
	}
	return nil
}

// resolvePosition returns a group's position and why it cannot stay, with the one to take its
// place.
func resolvePosition(l *admin.PartitionLag) (at int64, reset string) {
	if l.Committed < 0 {
		return l.First, ""
	}
	after := l.Committed
	intent, err := record.ParseIntent(l.Metadata)
	if err == nil && intent != nil {
		after = intent.Last + 1
	}
	at = min(max(l.Committed, l.First), l.HighWatermark)
	switch {
	case err != nil:
		return at, err.Error()
	case after > l.HighWatermark:
		return at, fmt.Sprintf(
			"it was %d and the log ends at %d: the log was replaced or cut", after, l.HighWatermark,
		)
	case l.Committed < l.First:
		return at, fmt.Sprintf(
			"it was %d and the log begins at %d: records were deleted before they were read",
			l.Committed, l.First,
		)
	}
	return at, ""
}

// reachBack refuses a log whose beginning is gone, unless that was accepted: the new store would
// hold less than the old one.
func (r *rebuild) reachBack(places []place) error {
	var gone []string
	for i := range places {
		if s := &places[i].span; s.From > 0 && places[i].group != schemas.GroupCatalog &&
			!compacted(s.Topic) {
			gone = append(
				gone, fmt.Sprintf("%s/%d begins at offset %d", s.Topic, s.Partition, s.From),
			)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	slices.Sort(gone)
	what := fmt.Sprintf(
		"%d partitions have lost their beginning by their retention (%s)", len(gone),
		strings.Join(gone[:min(len(gone), 3)], ", "),
	)
	if !r.AcceptPartial {
		return fmt.Errorf(
			"%s: what stood there would be missing from the new store; run it with --partial to "+
				"make it from what is left",
			what,
		)
	}
	r.Say("%s: the new store is made from what is left", what)
	return nil
}

// compacted tells whether a topic keeps the latest record of each key for good.
func compacted(topic string) bool {
	return slices.ContainsFunc(
		schemas.Topics(schemas.DefaultTopicsConfig()),
		func(t schemas.Topic) bool {
			return t.Name == topic && t.Compact
		},
	)
}

// run rebuilds the store.
func (r *rebuild) run(ctx context.Context) error {
	started := time.Now()
	r.filled = make(map[partitionOf]int64)
	r.pasts = make(map[string]*deadletter.Past)
	all, _ := r.store.groups()
	for _, g := range all {
		r.pasts[g] = r.kafka.PastOf(g)
	}
	if err := r.loadErasures(ctx); err != nil {
		return err
	}
	var err error
	if r.began, err = r.kafka.ForwardingBegan(ctx); err != nil {
		return err
	}
	places, err := r.places(ctx, false)
	if err != nil {
		return err
	}
	if err := r.reachBack(places); err != nil {
		return err
	}
	if busy, err := r.busy(ctx, r.mustStop(places)); err != nil || busy != "" && !r.Wait {
		return errors.Join(err, stopFirst(busy))
	}
	if err := r.store.begin(ctx); err != nil {
		return err
	}
	if err := r.follow(ctx, places); err != nil {
		return err
	}
	if places, err = r.catchUp(ctx); err != nil {
		return err
	}
	if err := r.resetPositions(ctx, places); err != nil {
		return err
	}
	what, err := r.store.finish(ctx)
	if err != nil {
		return err
	}
	if busy, err := r.busy(ctx, r.mustStop(places)); err != nil || busy != "" {
		return errors.Join(
			err,
			fmt.Errorf(
				"%s joined while the store was switched, and may have written to the old one: "+
					"stop it and run the rebuild again",
				busy,
			),
		)
	}
	skipped := ""
	if n := r.skipped.Load(); n > 0 {
		skipped = fmt.Sprintf(
			"; %d records were left out that had become dead letters", n,
		)
	}
	if n := r.kafka.SkippedBatches(); n > 0 {
		skipped += fmt.Sprintf("; %d batches of the log cannot be read and were skipped", n)
	}
	r.Say(
		"%s from %d offsets of the log in %.1f s%s", what, r.done.Load(),
		time.Since(started).Seconds(), skipped,
	)
	return nil
}

func (r *rebuild) loadErasures(ctx context.Context) error {
	r.erasures, r.letters = processors.NewErasures(), processors.NewErasures()
	return r.kafka.Read(ctx, schemas.TopicErasures, 0, 0, -1, func(rec *record.Record) error {
		if len(rec.Value) == 0 {
			return nil
		}
		x, err := schemas.DecodeErasure(rec)
		if err != nil {
			return err
		}
		r.erasures.Add(x)
		if rec.Time.After(x.ErasedAt) {
			x.ErasedAt = rec.Time
		}
		r.letters.Add(x)
		return nil
	})
}

// mustStop returns the groups that have to stop before the switch: those that remember the old
// store, and those whose positions are set.
func (r *rebuild) mustStop(places []place) []string {
	_, groups := r.store.groups()
	groups = slices.Clone(groups)
	for i := range places {
		if places[i].reset != "" {
			groups = append(groups, places[i].group)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// busy names the groups that have members, "" when none has.
func (r *rebuild) busy(ctx context.Context, groups []string) (string, error) {
	var out []string
	for _, g := range groups {
		members, err := admin.Members(ctx, r.kafka.Conn(), g)
		if err != nil {
			return "", err
		}
		if len(members) > 0 {
			out = append(
				out,
				fmt.Sprintf(
					"%s (%d members: %s)", g, len(members),
					strings.Join(slices.Compact(members), ", "),
				),
			)
		}
	}
	return strings.Join(out, ", "), nil
}

func stopFirst(busy string) error {
	if busy == "" {
		return nil
	}
	return fmt.Errorf(
		"these processors are running: %s. Stop them (the other processors and the API may go "+
			"on: start them with \"slipstream run --only …\"), or use --wait: then the new "+
			"store is filled while they run, and they have to stop for the last seconds only",
		busy,
	)
}

// nearEnough is how many offsets may be left for the last step.
const nearEnough = 2000

// follow fills the new store while the groups run, until it is close behind them.
func (r *rebuild) follow(ctx context.Context, places []place) error {
	for {
		if err := r.fill(ctx, places); err != nil {
			return err
		}
		var err error
		if places, err = r.places(ctx, false); err != nil {
			return err
		}
		if r.left(places) <= nearEnough {
			return nil
		}
	}
}

// left counts the offsets that have not been filled.
func (r *rebuild) left(places []place) int64 {
	var n int64
	for i := range places {
		s := &places[i].span
		n += max(0, s.To-max(s.From, r.filled[places[i].key()]))
	}
	return n
}

// fill brings the store to the places.
func (r *rebuild) fill(ctx context.Context, places []place) error {
	// A group's dead letters are on the log before its position moves past them.
	for _, past := range r.pasts {
		if err := past.Update(ctx); err != nil {
			return err
		}
	}
	r.total.Add(r.left(places))
	r.Progress(r.done.Load(), r.total.Load())
	ahead := slices.Clone(places)
	for i := range ahead {
		ahead[i].span.From = max(ahead[i].span.From, r.filled[ahead[i].key()])
	}
	if err := r.store.fill(ctx, ahead); err != nil {
		return err
	}
	for i := range places {
		r.filled[places[i].key()] = places[i].span.To
	}
	r.done.Store(r.total.Load())
	r.Progress(r.done.Load(), r.total.Load())
	return nil
}

// catchUp waits until the groups have stopped, then covers the rest.
func (r *rebuild) catchUp(ctx context.Context) ([]place, error) {
	told := ""
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		places, err := r.places(ctx, true)
		if err != nil {
			return nil, err
		}
		busy, err := r.busy(ctx, r.mustStop(places))
		if err != nil {
			return nil, err
		}
		if busy == "" {
			return r.last(ctx, places)
		}
		if !r.Wait {
			return nil, stopFirst(busy)
		}
		if busy != told {
			r.Say(
				"the new store is %d offsets behind: stop %s now, everywhere, to switch",
				r.left(places), busy,
			)
			told = busy
		}
		if places, err = r.places(ctx, false); err != nil {
			return nil, err
		}
		if r.left(places) > nearEnough {
			if err := r.fill(ctx, places); err != nil {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}

// last covers the rest while the groups are down.
func (r *rebuild) last(ctx context.Context, places []place) ([]place, error) {
	if v, ok := r.store.(forwarder); ok {
		n, err := v.forwardOlder(ctx)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			r.Say("%d events that stood in partitions of others were forwarded", n)
		}
		if places, err = r.places(ctx, true); err != nil {
			return nil, err
		}
	}
	for {
		if err := r.fill(ctx, places); err != nil {
			return nil, err
		}
		after, err := r.places(ctx, true)
		if err != nil {
			return nil, err
		}
		if busy, err := r.busy(ctx, r.mustStop(after)); err != nil || busy != "" {
			return nil, errors.Join(err, stopFirst(busy))
		}
		// Groups that go on by themselves have had everything from before the new store was made.
		stopped := r.mustStop(after)
		places = slices.DeleteFunc(
			slices.Clone(after),
			func(p place) bool { return !slices.Contains(stopped, p.group) },
		)
		if r.left(places) == 0 {
			return after, nil
		}
	}
}

// resetPositions sets the positions that cannot stay to where the new store is.
func (r *rebuild) resetPositions(ctx context.Context, places []place) error {
	to := make(map[string]map[record.TopicPartition]int64)
	for i := range places {
		p := &places[i]
		if p.reset == "" {
			continue
		}
		if to[p.group] == nil {
			to[p.group] = make(map[record.TopicPartition]int64)
		}
		to[p.group][p.tp()] = p.at
		r.Say(
			"%s: position on %s/%d set to %d (%s)", p.group, p.span.Topic, p.span.Partition, p.at,
			p.reset,
		)
	}
	for group, offsets := range to {
		if err := admin.ResetOffsets(ctx, r.kafka.Conn(), group, offsets); err != nil {
			return err
		}
	}
	return nil
}
