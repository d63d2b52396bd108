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

// UpgradeConfig says how a run with two versions of the program is.
type UpgradeConfig struct {
	// Before is the built program of the version before.
	Before string
	// Stage is how long each version works under load.
	Stage time.Duration
}

// Upgrade is what a run with two versions has shown.
type Upgrade struct {
	Verdict
	// Sent counts events, Acked those that were acknowledged.
	Sent, Acked int
	// Refusal is what the version before said when it was started over the data of this one, empty
	// if it worked.
	Refusal string
	// Undecided counts rows that do not say what they count as: of the version before, which does
	// not know the column.
	Undecided int
	// Steps says what was done, in order, with what each took.
	Steps []Step
}

// Step is something that an operator does.
type Step struct {
	What string
	Took time.Duration
}

func (s Step) String() string { return fmt.Sprintf("%-64s %6.1f s", s.What, s.Took.Seconds()) }

func (u *Upgrade) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events sent, %d acknowledged; %d rows, %d lists, %d users, %d items\n",
		u.Sent, u.Acked, u.Rows, u.Lists, u.Users, u.Items)
	for _, s := range u.Steps {
		fmt.Fprintf(&b, "  %s\n", s)
	}
	if u.Refusal != "" {
		fmt.Fprintf(&b, "  the version before refused: %s\n", u.Refusal)
	}
	return b.String()
}

// upgrade drives one run.
type upgrade struct {
	h   *harness
	cfg UpgradeConfig
	now string // the program of this version
	out *Upgrade
	// answer is the last line of what a command said.
	answer string
}

// timed does a step and notes how long it took.
func (u *upgrade) timed(what string, f func() error) error {
	began := time.Now()
	u.h.note("%s", what)
	err := f()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	u.out.Steps = append(u.out.Steps, Step{what, time.Since(began)})
	return nil
}

// UpgradeEmbedded runs slipstream dev over one data folder: the version before, this one in its
// place amid its work, the version before again, and this one. The load goes on all the time. The
// stores are compared in the end.
func UpgradeEmbedded(
	ctx context.Context, cfg UpgradeConfig, paths Paths, diary io.Writer,
) (*Upgrade, error) {
	size := Short()
	size.Leavers = 3
	h := newHarness(size, paths.Dir, diary)
	h.load.world.plain = true
	defer h.close()
	supervised, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	u := &upgrade{h: h, cfg: cfg, now: paths.Binary, out: &Upgrade{}}
	addr, err := h.onEmbedded(cfg.Before)
	if err != nil {
		return nil, err
	}
	dev := h.instances[0]
	wg.Go(func() { dev.run(supervised) })
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	dev.want(true)
	if err := dev.waitReady(starting); err != nil {
		return nil, err
	}
	if err := h.connect(starting, []string{addr}, []string{addr}); err != nil {
		return nil, err
	}
	if err := h.load.publishCatalog(starting); err != nil {
		return nil, err
	}
	if err := u.underLoad(ctx, func() error { return u.embedded(ctx, dev) }); err != nil {
		return nil, err
	}
	return u.out, u.compare(ctx, []*instance{dev})
}

// startLimit is how long an instance may take until it is ready.
const startLimit = 4 * time.Minute

// underLoad does f while the audience plays.
func (u *upgrade) underLoad(ctx context.Context, f func() error) error {
	playing, stopPlaying := context.WithCancel(ctx)
	hard, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var audience sync.WaitGroup
	audience.Go(func() { u.h.load.run(playing, hard) })
	u.h.mu.Lock()
	u.h.injecting = time.Now()
	u.h.mu.Unlock()
	err := f()
	stopPlaying()
	if err != nil {
		giveUp()
	}
	late := context.AfterFunc(ctx, giveUp)
	defer late()
	timer := time.AfterFunc(time.Minute, giveUp)
	defer timer.Stop()
	audience.Wait()
	if err == nil && hard.Err() != nil {
		err = errors.New("some events were not acknowledged within a minute after the last step")
	}
	return err
}

// embedded are the steps with slipstream dev.
func (u *upgrade) embedded(ctx context.Context, dev *instance) error {
	wait(ctx, u.cfg.Stage)
	dev.replace(u.now)
	if err := u.awaits(ctx, "this version over the data of a killed one before", dev); err != nil {
		return err
	}
	wait(ctx, u.cfg.Stage)
	dev.want(false)
	dev.kill()
	dev.use(u.cfg.Before)
	if err := u.backEmbedded(ctx, dev); err != nil {
		return err
	}
	wait(ctx, u.cfg.Stage)
	dev.want(false)
	stopped := func() error { return u.h.stopped(dev) }
	if err := u.timed("stop the version before", stopped); err != nil {
		return err
	}
	dev.use(u.now)
	dev.want(true)
	if err := u.awaits(ctx, "this version again", dev); err != nil {
		return err
	}
	wait(ctx, u.cfg.Stage)
	return nil
}

// backEmbedded starts the version before over the data of this one, where need be as the guide says
// for a file that it does not know.
func (u *upgrade) backEmbedded(ctx context.Context, dev *instance) error {
	const took = "the version before over the data of a killed later one"
	refusal, err := u.tried(ctx, dev)
	if err != nil {
		return err
	}
	if u.out.Refusal = refusal; refusal != "" {
		err := u.timed("the version before: slipstream rebuild --store embedded", func() error {
			return u.command(ctx, dev, u.cfg.Before, "rebuild", "--store", "embedded",
				"--data", filepath.Join(u.h.dir, dev.name))
		})
		if err != nil {
			return err
		}
	}
	dev.want(true)
	return u.awaits(ctx, took, dev)
}

// tried starts an instance and returns the last line of what it said if it has ended, "" if it
// works. It is stopped then.
func (u *upgrade) tried(ctx context.Context, x *instance) (refusal string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, x.binary, x.args...)
	said := &speech{}
	cmd.Env, cmd.Stdout, cmd.Stderr = x.env, said, said
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopLimit
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err == nil || ctx.Err() != nil {
				err = errors.Join(err, ctx.Err())
				return "", fmt.Errorf("it neither works nor refuses: %w", err)
			}
			return said.last(), nil
		case <-time.After(100 * time.Millisecond):
		}
		if x.ready(ctx) {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				return "", err
			}
			return "", <-ended
		}
	}
}

// command runs a command of a program with the settings of an instance. What it said last is kept
// in u.answer.
func (u *upgrade) command(ctx context.Context, x *instance, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	said := &speech{}
	cmd.Env, cmd.Stdout, cmd.Stderr = x.env, said, said
	err := cmd.Run()
	u.answer = said.last()
	u.h.note("%s %s: %s", filepath.Base(program), strings.Join(args, " "), u.answer)
	if err != nil {
		return fmt.Errorf("%w: %s", err, said.last())
	}
	return nil
}

// speech keeps what a program has said.
type speech struct {
	mu  sync.Mutex
	buf []byte
}

func (s *speech) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = append(s.buf, b...)
	return len(b), nil
}

// last returns the last line.
func (s *speech) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.TrimSpace(string(s.buf))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// awaits waits until instances are ready.
func (u *upgrade) awaits(ctx context.Context, what string, instances ...*instance) error {
	return u.timed(what, func() error {
		ctx, cancel := context.WithTimeout(ctx, startLimit)
		defer cancel()
		for _, x := range instances {
			if err := x.waitReady(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// compare waits for the groups, stops the instances, and compares the stores with the log.
func (u *upgrade) compare(ctx context.Context, instances []*instance) error {
	h := u.h
	if err := u.timed("the groups have caught up", func() error {
		return h.awaitIdle(ctx, h.direct, 2*h.cfg.CatchUpTimeout)
	}); err != nil {
		return err
	}
	wait(ctx, lookAfter)
	log, err := h.readAll(ctx)
	if err != nil {
		return err
	}
	for _, x := range instances {
		x.want(false)
		if err := h.stopped(x); err != nil {
			return err
		}
	}
	expected, err := expect(log)
	if err != nil {
		return err
	}
	for _, p := range expected.users {
		p.History, p.own, p.moved = unlabeled(p.History), unlabeled(p.own), unlabeled(p.moved)
	}
	s, err := h.openStores(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	s.unlabeled = true
	v, err := verify(ctx, h.ledger, log, expected, s)
	if err != nil {
		return err
	}
	u.out.Verdict = *v
	if err := s.db.QueryRowContext(
		ctx, "SELECT count(*) FROM interactions WHERE outcome = ''",
	).Scan(&u.out.Undecided); err != nil {
		return err
	}
	u.out.Sent, u.out.Acked, _ = h.ledger.totals()
	return nil
}
