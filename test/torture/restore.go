//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// RestoreConfig says how a run with backups is.
type RestoreConfig struct {
	// Stage is how long the load goes on between a backup and what is lost, and after it.
	Stage time.Duration
	// Backups is a folder that ClickHouse may write to.
	Backups string
}

// Restored is what a run with backups has shown.
type Restored struct {
	// Stores is the comparison after all stores were lost beside a living log, Everything that
	// after the log was lost as well.
	Stores, Everything *Verdict
	// Kept counts the events that were acknowledged before the copy of Kafka, Later those that were
	// sent after everything was restored.
	Kept, Later int
	// Steps says what was done, in order, with what each took.
	Steps []Step
}

func (r *Restored) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d interactions, %d lists, %d friendships when the stores were lost\n",
		r.Stores.Rows, r.Stores.Lists, r.Stores.Edges)
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "  %s\n", s)
	}
	return b.String()
}

// RunRestore takes backups while events flow, loses the stores and later everything, restores in
// the order of the operators' guide, and compares each time.
func RunRestore(
	ctx context.Context, cfg RestoreConfig, paths Paths, diary io.Writer,
) (*Restored, error) {
	size := Short()
	size.Instances, size.Leavers = 2, 4
	h := newHarness(size, paths.Dir, diary)
	defer h.close()
	supervised, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if err := h.prepare(supervised, &wg, paths); err != nil {
		return nil, err
	}
	r := &restore{
		upgrade: upgrade{h: h, now: paths.Binary, out: &Upgrade{}}, cfg: cfg,
		copies: filepath.Join(paths.Dir, "copies"), out: &Restored{},
	}
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	r.out.Steps = r.upgrade.out.Steps
	return r.out, nil
}

// restore drives one run.
type restore struct {
	upgrade
	cfg    RestoreConfig
	copies string // of data folders
	out    *Restored
	// saved are the events that were acknowledged before Kafka's folder was copied.
	saved map[string]bool
}

func (r *restore) run(ctx context.Context) error {
	if err := os.MkdirAll(r.copies, 0o755); err != nil {
		return err
	}
	if err := r.underLoad(ctx, func() error {
		wait(ctx, r.cfg.Stage)
		if err := r.backUp(ctx); err != nil {
			return fmt.Errorf("back up: %w", err)
		}
		wait(ctx, r.cfg.Stage)
		if err := r.loseStores(ctx); err != nil {
			return fmt.Errorf("restore the stores: %w", err)
		}
		wait(ctx, r.cfg.Stage/2)
		return nil
	}); err != nil {
		return err
	}
	var err error
	if r.out.Stores, err = r.verdict(ctx); err != nil {
		return err
	}
	if err := r.loseEverything(ctx); err != nil {
		return fmt.Errorf("restore everything: %w", err)
	}
	r.h.load.sender = func(name string, seed uint64) *sender {
		return r.h.sender("later-"+name, seed+5000)
	}
	if err := r.underLoad(ctx, func() error { wait(ctx, r.cfg.Stage); return nil }); err != nil {
		return err
	}
	sent, acked, _ := r.h.ledger.totals()
	r.out.Later = acked - r.out.Kept
	r.h.note("%d events sent, %d acknowledged", sent, acked)
	r.out.Everything, err = r.verdict(ctx)
	return err
}

// always are the instances that run.
func (r *restore) always() []*instance { return r.h.instances[:r.h.cfg.Instances] }

// verdict is compare, for a run that goes on.
func (r *restore) verdict(ctx context.Context) (*Verdict, error) {
	if err := r.compare(ctx, r.always()); err != nil {
		return nil, err
	}
	v := r.upgrade.out.Verdict
	return &v, nil
}

// stopAtRest stops the processors and keeps the offsets. Whoever takes over partitions while it
// stops may leave a batch in work: then one instance is started and stopped again.
func (r *restore) stopAtRest(ctx context.Context) error {
	if err := r.stopProcessors(ctx); err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		err := r.saveOffsets(ctx)
		if err == nil || attempt == 5 {
			return err
		}
		r.h.note("%v", err)
		last := r.always()[0]
		last.want(true)
		if err := last.waitReady(ctx); err != nil {
			return err
		}
		wait(ctx, 5*time.Second)
		last.want(false)
		if err := r.h.stopped(last); err != nil {
			return err
		}
	}
}

// stopProcessors stops one instance after the other.
func (r *restore) stopProcessors(context.Context) error {
	for _, x := range r.always() {
		x.want(false)
		if err := r.h.stopped(x); err != nil {
			return err
		}
	}
	return nil
}

func (r *restore) startProcessors(ctx context.Context) error {
	for _, x := range r.always() {
		x.want(true)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, x := range r.always() {
		if err := x.waitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step is one thing to do.
type step struct {
	what string
	do   func(context.Context) error
}

func (r *restore) inOrder(ctx context.Context, steps ...step) error {
	for _, s := range steps {
		if err := r.timed(s.what, func() error { return s.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// inAll does steps and notes what they took together.
func (r *restore) inAll(ctx context.Context, what string, steps ...step) error {
	began := time.Now()
	err := r.inOrder(ctx, steps...)
	r.upgrade.out.Steps = append(r.upgrade.out.Steps, Step{what, time.Since(began)})
	return err
}

// verb returns how the services script is told to do something with an engine.
func (r *restore) verb(verb, engine string) func(context.Context) error {
	return func(ctx context.Context) error { return r.h.services.verb(ctx, verb, engine) }
}

// backUp saves everything, the log last: what it holds beyond the positions of the groups is
// replayed.
func (r *restore) backUp(ctx context.Context) error {
	return r.inOrder(ctx,
		step{"backup: stop the processors, slipstream offsets", r.stopAtRest},
		step{"backup: ClickHouse, BACKUP DATABASE", r.backUpClickHouse},
		step{"backup: Neo4j, stop, neo4j-admin database dump, start", r.dumpNeo4j},
		step{"backup: Qdrant, stop, copy its folder, start", func(ctx context.Context) error {
			return r.copyStopped(ctx, engineQdrant)
		}},
		step{"backup: Kafka, stop, copy its folder, start", func(ctx context.Context) error {
			return r.copyStopped(ctx, engineKafka)
		}},
		step{"backup: start the processors", r.startProcessors},
	)
}

func (r *restore) offsets() string { return filepath.Join(r.copies, "offsets.json") }

// saveOffsets keeps what slipstream offsets prints.
func (r *restore) saveOffsets(ctx context.Context) error {
	f, err := os.Create(r.offsets())
	if err != nil {
		return err
	}
	defer f.Close()
	x, said := r.h.instances[0], &speech{}
	cmd := exec.CommandContext(ctx, r.now, "offsets")
	cmd.Env, cmd.Stdout, cmd.Stderr = x.env, f, said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, said.last())
	}
	return f.Close()
}

// goBack returns how the groups of a store are moved back to the offsets of its backup.
func (r *restore) goBack(store string) func(context.Context) error {
	return func(ctx context.Context) error {
		err := r.command(ctx, r.h.instances[0], r.now,
			"offsets", "--restore", r.offsets(), "--store", store)
		if err == nil && store == "clickhouse" && strings.HasPrefix(r.answer, "0 ") {
			err = errors.New("the backup lacks nothing: the comparison would show nothing")
		}
		return err
	}
}

// loseStores kills the stores, deletes what they hold, and restores them beside the log, which
// lives.
func (r *restore) loseStores(ctx context.Context) error {
	for _, engine := range []string{engineClickHouse, engineNeo4j, engineQdrant} {
		if err := r.lose(ctx, engine); err != nil {
			return err
		}
	}
	return r.inAll(ctx, "stores lost: in all",
		step{"stores lost: stop the processors", r.stopProcessors},
		step{"stores lost: ClickHouse, start empty", r.verb("up", engineClickHouse)},
		step{"stores lost: ClickHouse, RESTORE DATABASE", r.restoreClickHouse},
		step{"stores lost: slipstream offsets --restore, clickhouse", r.goBack("clickhouse")},
		step{"stores lost: Neo4j, neo4j-admin database load, start", r.loadNeo4j},
		step{"stores lost: slipstream offsets --restore, neo4j", r.goBack("neo4j")},
		step{"stores lost: Qdrant, start empty", r.verb("up", engineQdrant)},
		step{"stores lost: slipstream rebuild --store qdrant", func(ctx context.Context) error {
			return r.command(ctx, r.h.instances[0], r.now, "rebuild", "--store", "qdrant")
		}},
		step{"stores lost: start the processors", r.startProcessors},
	)
}

// loseEverything kills all engines, deletes what they hold, and restores them from one backup.
func (r *restore) loseEverything(ctx context.Context) error {
	for _, engine := range allEngines() {
		if err := r.lose(ctx, engine); err != nil {
			return err
		}
	}
	r.h.disconnect()
	if err := r.inAll(ctx, "all lost: in all",
		step{"all lost: Kafka, its folder, start", r.placed(engineKafka)},
		step{"all lost: ClickHouse, start empty", r.verb("up", engineClickHouse)},
		step{"all lost: ClickHouse, RESTORE DATABASE", r.restoreClickHouse},
		step{"all lost: Neo4j, neo4j-admin database load, start", r.loadNeo4j},
		step{"all lost: Qdrant, its folder, start", r.placed(engineQdrant)},
		step{"all lost: slipstream migrate --raise-epoch", func(ctx context.Context) error {
			return r.command(ctx, r.h.instances[0], r.now, "migrate", "--raise-epoch")
		}},
		step{"all lost: start the processors", r.startProcessors},
	); err != nil {
		return err
	}
	s := r.h.services
	if err := r.h.connect(ctx, s.kafka(s.proxied), s.kafka(s.direct)); err != nil {
		return err
	}
	r.out.Kept = r.h.ledger.keep(r.saved)
	return nil
}

// lose kills an engine and deletes what it holds.
func (r *restore) lose(ctx context.Context, engine string) error {
	r.h.note("%s is lost", engine)
	if err := r.h.services.verb(ctx, "kill", engine); err != nil {
		return err
	}
	return r.h.services.verb(ctx, "wipe", engine)
}
