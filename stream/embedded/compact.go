package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// wantsCompaction reports whether the compacted topics have grown enough since the last time to be
// worth it.
func (b *Broker) wantsCompaction(logs []partitionLog) bool {
	if b.cfg.CompactAfterBytes < 0 {
		return false
	}
	var last int64
	if raw, err := os.ReadFile(b.compactedFile()); err == nil {
		// unreadable means never: compacting once more does no harm
		last, _ = strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	}
	_, now := totals(logs)
	return now > last+b.cfg.CompactAfterBytes
}

func (b *Broker) compactedFile() string { return filepath.Join(b.cfg.Dir, "compacted-bytes") }

// openCompacting opens the log, compacts it and serves it. It returns false when compaction has
// failed: the files are as before and the log is closed.
//
// kfake compacts by deleting a partition's files and writing them anew, so the files are linked
// aside first; as long as the links are there, a start puts them back.
func (b *Broker) openCompacting(
	ctx context.Context,
	aside *aside,
	logs []partitionLog,
) (bool, error) {
	if err := aside.move(logs); err != nil {
		return false, fmt.Errorf("embedded broker: link files aside before compaction: %w", err)
	}
	b.step("aside")
	var failed atomic.Bool
	if err := b.openCluster(ctx, func(string) { failed.Store(true) }); err != nil {
		return false, errors.Join(err, aside.drop()) // nothing was compacted
	}
	b.step("opened")
	failed.Store(false) // what kfake warned of while loading is no failure of compaction
	b.cluster.Compact()
	b.step("compacted")
	if failed.Load() {
		b.log.Error("embedded broker: compaction failed, the log stays as it was", "dir", b.cfg.Dir)
		b.cluster.Close()
		if _, err := aside.recover(); err != nil {
			return false, fmt.Errorf(
				"embedded broker: put files back after a failed compaction: %w", err,
			)
		}
		return false, nil
	}
	if err := aside.drop(); err != nil {
		b.cluster.Close()
		return false, fmt.Errorf("embedded broker: remove the links after compaction: %w", err)
	}
	if after, err := scan(b.logDir()); err == nil {
		_, bytes := totals(after)
		// Losing this figure costs one compaction.
		_ = os.WriteFile(b.compactedFile(), []byte(strconv.FormatInt(bytes, 10)), 0o644)
	}
	return true, b.serve(ctx)
}

func (b *Broker) step(name string) {
	if b.cfg.compactionStep != nil {
		b.cfg.compactionStep(name)
	}
}

// aside is the folder that holds hard links to the files of compacted partitions while they are
// being compacted. It is complete exactly as long as it has its name: it is made under another one
// and renamed, and renamed again before it is removed.
type aside struct {
	dir, making, gone string
	logDir            string
}

func asideAt(dir, logDir string) *aside {
	d := filepath.Join(dir, "before-compaction")
	return &aside{dir: d, making: d + ".making", gone: d + ".gone", logDir: logDir}
}

func (a *aside) move(logs []partitionLog) error {
	if err := a.clean(); err != nil {
		return err
	}
	for i := range logs {
		l := &logs[i]
		if !l.compacted || len(l.segments) == 0 {
			continue
		}
		if err := linkFiles(l.dir, filepath.Join(a.making, filepath.Base(l.dir))); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(a.making, 0o755); err != nil { // no partition had files
		return err
	}
	if err := os.Rename(a.making, a.dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(a.dir))
}

// recover puts back what take has linked, if it is there, and reports whether it was. It can be
// interrupted and repeated.
func (a *aside) recover() (bool, error) {
	if err := a.clean(); err != nil {
		return false, err
	}
	partitions, err := os.ReadDir(a.dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, p := range partitions {
		dir := filepath.Join(a.logDir, "partitions", p.Name())
		if err := os.RemoveAll(dir); err != nil {
			return false, err
		}
		if err := linkFiles(filepath.Join(a.dir, p.Name()), dir); err != nil {
			return false, err
		}
	}
	return true, a.drop()
}

// drop removes the links: what is in the log counts from here on.
func (a *aside) drop() error {
	if err := os.Rename(a.dir, a.gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := syncDir(filepath.Dir(a.dir)); err != nil {
		return err
	}
	return a.clean()
}

// clean removes what an interrupted take or drop has left.
func (a *aside) clean() error {
	return errors.Join(os.RemoveAll(a.making), os.RemoveAll(a.gone))
}

// linkFiles hard-links every file of one folder into another, or copies where the file system has
// no hard links.
func linkFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if err := os.Link(src, dst); err != nil {
			if err := copyFile(src, dst); err != nil {
				return err
			}
		}
	}
	return syncDir(to)
}

func copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Sync()
}
