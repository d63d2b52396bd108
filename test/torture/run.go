//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Paths are where a run finds and puts things.
type Paths struct {
	// Binary is the built program, Services the script that starts the engines, or "" for the
	// embedded ones.
	Binary, Services string
	// Dir takes data and logs.
	Dir string
}

// Run tortures the program and reports. An error means that the run itself could not be done;
// whether the program has stood it is in the report.
func Run(ctx context.Context, cfg Config, paths Paths, diary io.Writer) (*Report, error) {
	h := newHarness(cfg, paths.Dir, diary)
	defer h.close()
	supervised, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if err := h.prepare(supervised, &wg, paths); err != nil {
		return nil, err
	}
	injected, err := h.torture(ctx)
	if err != nil {
		return nil, err
	}
	rested := time.Now()
	if err := h.awaitIdle(ctx, h.direct, cfg.CatchUpTimeout); err != nil {
		return nil, err
	}
	caughtUp := time.Since(rested)
	wait(ctx, lookAfter)
	log, err := h.readAll(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range h.instances {
		x.want(false)
		if x.running() {
			if err := h.stopped(x); err != nil {
				h.tally.failed = append(h.tally.failed, err.Error())
			}
		}
	}
	expected, err := expect(log)
	if err != nil {
		return nil, err
	}
	s, err := h.openStores(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	r := h.report(injected)
	r.CaughtUp = caughtUp
	if r.Verdict, err = verify(ctx, h.ledger, log, expected, s); err != nil {
		return nil, err
	}
	if h.services != nil {
		if r.Recall, err = h.load.world.recall(ctx, s); err != nil {
			return nil, err
		}
		if r.Reference, err = h.undisturbed(ctx, paths.Binary, log, expected); err != nil {
			return nil, fmt.Errorf("undisturbed run: %w", err)
		}
	}
	r.Took = time.Since(h.begin)
	return r, nil
}

// lookAfter is how long erasures that met a late write may take to be completed.
const lookAfter = 12 * time.Second

func (h *harness) openStores(ctx context.Context) (*stores, error) {
	if h.services != nil {
		return h.services.openStores(ctx)
	}
	return openEmbedded(ctx, filepath.Join(h.dir, "dev"))
}

// prepare starts engines and instances and writes the catalog.
func (h *harness) prepare(ctx context.Context, wg *sync.WaitGroup, paths Paths) error {
	embedded := ""
	var err error
	if paths.Services != "" {
		err = h.onServices(ctx, paths.Binary, paths.Services)
	} else {
		embedded, err = h.onEmbedded(paths.Binary)
	}
	if err != nil {
		return err
	}
	all := slices.Compact(slices.Clone(h.instances))
	for _, x := range all {
		wg.Go(func() { x.run(ctx) })
	}
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, x := range all[:h.cfg.Instances] {
		x.want(true)
		if err := x.waitReady(starting); err != nil {
			return err
		}
		if embedded != "" {
			if err := h.connect(starting, []string{embedded}, []string{embedded}); err != nil {
				return err
			}
		}
	}
	h.note("instances are ready")
	h.planter = h.sender("plant", 2)
	if err := h.load.publishCatalog(starting); err != nil {
		return err
	}
	return h.awaitIdle(ctx, h.direct, time.Minute)
}

// torture runs load and faults side by side and returns how long faults were injected. Afterwards
// everything runs and is reachable again.
func (h *harness) torture(ctx context.Context) (time.Duration, error) {
	playing, stopPlaying := context.WithCancel(ctx)
	defer stopPlaying()
	hard, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var wg sync.WaitGroup
	wg.Go(func() { h.load.run(playing, hard) })
	wait(ctx, 3*time.Second)

	begin := time.Now()
	h.mu.Lock()
	h.injecting = begin
	h.mu.Unlock()
	breaking, cancel := context.WithTimeout(ctx, h.cfg.Duration)
	defer cancel()
	var lanes sync.WaitGroup
	lanes.Go(func() { h.inject(breaking, h.instanceFaults(), 10, 2*time.Second) })
	if h.services != nil {
		lanes.Go(func() { h.inject(breaking, h.engineFaults(), 11, 2*time.Second) })
	}
	lanes.Wait()
	injected := time.Since(begin)
	h.note("%d faults in %s; stopping the load", h.tally.total, injected.Round(time.Second))
	wait(ctx, 2*time.Second)
	stopPlaying()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		giveUp()
		<-done
		return injected, errors.New(
			"some events were not acknowledged within a minute after the last fault",
		)
	}
	return injected, ctx.Err()
}

func (h *harness) report(injected time.Duration) *Report {
	r := &Report{
		Seed: h.cfg.Seed, Injected: injected, Faults: h.tally.total, ByKind: h.tally.byKind,
		FaultsFailed: h.tally.failed, Stops: len(h.stops),
	}
	if len(h.stops) > 0 {
		r.SlowestStop = slices.Max(h.stops)
	}
	r.Sent, r.Acked, r.Dropped = h.ledger.totals()
	l := h.ledger
	r.OverHTTP, r.OverKafka, r.SentTwice, r.Planted = l.overHTTP, l.overKafka, l.twice, l.planted
	r.OverOthers, r.InTransactions, r.Transactions = l.overOthers, l.inTransactions, l.transactions
	r.Bombs = l.bombs
	r.Refusals, r.WronglyTaken, r.Answers = l.refusals, l.wronglyTaken, l.answers
	for _, x := range slices.Compact(slices.Clone(h.instances)) {
		r.Starts += x.starts.Load()
		r.Crashes += x.crashes.Load()
		r.FailedStarts += x.failedStarts.Load()
		r.MaxRSS = max(r.MaxRSS, x.maxRSS.Load())
	}
	return r
}
