//go:build linux

package torture

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// UpgradeRolling runs several instances on real engines and replaces them one by one under load, by
// this version and then by the one before again. Some of them are killed, the others stopped. The
// stores are compared in the end.
func UpgradeRolling(
	ctx context.Context, cfg UpgradeConfig, paths Paths, diary io.Writer,
) (*Upgrade, error) {
	size := Short()
	size.Instances, size.Leavers = 2, 4
	h := newHarness(size, paths.Dir, diary)
	h.load.world.plain = true
	defer h.close()
	supervised, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	begin := paths
	begin.Binary = cfg.Before
	if err := h.prepare(supervised, &wg, begin); err != nil {
		return nil, err
	}
	u := &upgrade{h: h, cfg: cfg, now: paths.Binary, out: &Upgrade{}}
	if err := u.underLoad(ctx, func() error { return u.roll(ctx) }); err != nil {
		return nil, err
	}
	return u.out, u.compare(ctx, h.instances[:size.Instances])
}

// roll replaces all instances there and back.
func (u *upgrade) roll(ctx context.Context) error {
	for _, to := range []struct{ name, binary string }{
		{"this version", u.now}, {"the version before", u.cfg.Before},
	} {
		wait(ctx, u.cfg.Stage)
		for i, x := range u.h.instances[:u.h.cfg.Instances] {
			how := "stopped"
			if i == 1 {
				how = "killed"
			}
			what := fmt.Sprintf("instance %d %s, then %s", i+1, how, to.name)
			err := u.timed(what, func() error { return u.exchange(ctx, x, how, to.binary) })
			if err != nil {
				return err
			}
			wait(ctx, u.cfg.Stage/3)
		}
	}
	wait(ctx, u.cfg.Stage)
	return nil
}

// exchange puts another program in the place of an instance and waits until it works.
func (u *upgrade) exchange(ctx context.Context, x *instance, how, binary string) error {
	if how == "killed" {
		x.replace(binary)
	} else {
		x.want(false)
		if err := u.h.stopped(x); err != nil {
			return err
		}
		x.use(binary)
		x.want(true)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return x.waitReady(ctx)
}
