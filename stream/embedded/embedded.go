// Package embedded runs a Kafka broker inside the process, for development and tests on one
// machine: franz-go's kfake behind a loopback listener, kept in a folder, so that every Kafka
// client can connect and nothing has to be installed.
//
// As it comes, kfake loses data in a few ordinary situations. This package is the guards against
// them:
//
//   - nothing expires by time: neither records nor a group's offsets; topics that ask for
//     retention.ms get none
//   - logs are bounded by bytes, in whole small segments, and a partition is never emptied, since
//     an empty one forgets its offsets
//   - compaction runs only inside Start, before clients are served, with the partitions' files
//     linked aside first; a start that finds the links
//     puts them back
//   - topics with message.timestamp.type=LogAppendTime have the broker's time, as with Kafka
//   - an offset by time is found without decompressing more than a bound
//   - sequences of idempotent producers are those of the log, also after a kill
//   - a folder is locked, so that two processes cannot write it
//   - memory at start equals the size of the log, so the log has a cap (Config.MaxLogBytes): beyond
//     it the oldest segments of the largest
//     partitions that are not compacted go, with a warning
//
// It is no replacement for a Kafka cluster: one node, no replicas, one thread.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Config says where the broker keeps its log and where it listens. Take DefaultConfig and change
// what differs.
type Config struct {
	// Dir is the folder of the log. It is created if needed, and belongs to one process at a time.
	// Required.
	Dir string
	// Addr is the loopback address to listen on, such as 127.0.0.1:9092. Port 0 takes a free one.
	Addr string
	// MaxLogBytes caps the size of all partitions together, and with it the memory needed at start.
	// It is checked every CheckEvery, so it can be exceeded by what is written in between. Default
	// 1 GiB, at least 16 MiB.
	MaxLogBytes int64
	// SegmentBytes is the size of a partition's files: what retention removes at once. Zero derives
	// it from MaxLogBytes (a 512th, at least 1 MiB, at most 64 MiB), so that few files are open.
	SegmentBytes int64
	// CheckEvery is how often retention by bytes and MaxLogBytes are applied. Default 5 s.
	CheckEvery time.Duration
	// CompactAfterBytes is by how much the compacted topics must have grown since the last
	// compaction for a start to compact again. Default 32 MiB; negative never compacts.
	CompactAfterBytes int64
	// Fresh deletes what Dir holds, once Dir is locked and Addr is bound: never what another
	// process uses.
	Fresh bool
	// Sync makes every write durable against a crash of the machine, at the cost of speed. Without
	// it an acknowledged record survives every crash of the process, as with a single Kafka
	// broker's defaults.
	Sync bool
	// Clock is the broker's clock: what records of topics with message.timestamp.type=LogAppendTime
	// get. Default time.Now.
	Clock func() time.Time
	// Log receives warnings; nil is slog.Default().
	Log *slog.Logger

	// compactionStep is called during compaction, by tests that crash there.
	compactionStep func(step string)
}

// DefaultConfig returns the defaults for a log in dir: 127.0.0.1:9092, at most 1 GiB.
func DefaultConfig(dir string) Config {
	return Config{
		Dir: dir, Addr: "127.0.0.1:9092", MaxLogBytes: 1 << 30, CheckEvery: 5 * time.Second,
		CompactAfterBytes: 32 << 20, Clock: time.Now,
	}
}

const (
	minLogBytes     = 16 << 20
	minSegmentBytes = 64 << 10
	// A partition that may keep the largest possible batch is never emptied by retention.
	maxMessageBytes   = 8 << 20
	minRetentionBytes = maxMessageBytes
)

// Validate returns an error that names the field that is wrong, and what is right.
func (c Config) Validate() error {
	if c.Dir == "" {
		return errors.New("embedded broker: Dir is empty: name the folder that keeps the log")
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf(
			"embedded broker: Addr %q: want host:port, such as 127.0.0.1:9092: %w", c.Addr, err,
		)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf(
			"embedded broker: Addr %q is not a loopback address: the broker knows no "+
				"authentication, so it listens on 127.0.0.1 only",
			c.Addr,
		)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf(
			"embedded broker: Addr %q: the port must be a number from 0 to 65535", c.Addr,
		)
	}
	if c.MaxLogBytes < minLogBytes {
		return fmt.Errorf(
			"embedded broker: MaxLogBytes is %d: want at least %d (16 MiB)", c.MaxLogBytes,
			minLogBytes,
		)
	}
	if c.SegmentBytes != 0 && c.SegmentBytes < minSegmentBytes {
		return fmt.Errorf(
			"embedded broker: SegmentBytes is %d: want 0 or at least %d (64 KiB)", c.SegmentBytes,
			minSegmentBytes,
		)
	}
	if c.CheckEvery <= 0 {
		return fmt.Errorf(
			"embedded broker: CheckEvery is %s: want a positive duration", c.CheckEvery,
		)
	}
	if c.Clock == nil {
		return errors.New("embedded broker: Clock is nil: want time.Now")
	}
	return nil
}

func (c Config) segmentBytes() int64 {
	if c.SegmentBytes != 0 {
		return c.SegmentBytes
	}
	return min(max(c.MaxLogBytes/512, 1<<20), 64<<20)
}

// Broker is a running broker. Close it.
type Broker struct {
	cfg     Config
	log     *slog.Logger
	cluster *kfake.Cluster
	bound   net.Listener // until kfake has it
	ln      *listener
	lock    *folderLock
	appends appendTimes
	times   timeIndex
	// forgotten are ended before the first client comes.
	forgotten forgotten

	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
}

// Start opens or creates the log in cfg.Dir and serves it on cfg.Addr. It returns when clients are
// served. An error says what to do: the folder is used by another process, the port is taken (both
// before anything is changed), the log is larger than the cap.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, log: cfg.Log, stop: make(chan struct{}), stopped: make(chan struct{})}
	if b.log == nil {
		b.log = slog.Default()
	}
	if err := os.MkdirAll(b.logDir(), 0o755); err != nil {
		return nil, fmt.Errorf("embedded broker: create folder: %w", err)
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	b.lock = lock
	if err := b.openFolder(ctx); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	go b.maintain()
	return b, nil
}

// openFolder binds the address before it changes anything in the folder, which is locked.
func (b *Broker) openFolder(ctx context.Context) (err error) {
	if b.bound, err = b.bind(ctx); err != nil {
		return err
	}
	defer func() {
		if b.bound != nil {
			err = errors.Join(err, b.bound.Close())
		}
	}()
	if b.cfg.Fresh {
		if err := b.wipe(); err != nil {
			return err
		}
	}
	return b.openLog(ctx)
}

func (b *Broker) bind(ctx context.Context) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf(
			"embedded broker: listen on %s (is another broker running? stop it or take another "+
				"address): %w",
			b.cfg.Addr, err,
		)
	}
	return ln, nil
}

// wipe deletes everything in the folder but the lock.
func (b *Broker) wipe() error {
	entries, err := os.ReadDir(b.cfg.Dir)
	if err != nil {
		return fmt.Errorf("embedded broker: delete the old log: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(b.cfg.Dir, e.Name())); err != nil {
			return fmt.Errorf("embedded broker: delete the old log: %w", err)
		}
	}
	if err := os.MkdirAll(b.logDir(), 0o755); err != nil {
		return fmt.Errorf("embedded broker: create folder: %w", err)
	}
	return nil
}

// Addr returns the address that clients connect to.
func (b *Broker) Addr() string { return b.ln.Addr().String() }

// Close saves everything, closes all connections and frees the folder. Closing again does nothing.
func (b *Broker) Close() error {
	var err error
	b.once.Do(func() {
		close(b.stop)
		<-b.stopped
		b.cluster.Close()
		b.ln.closeConns()
		err = b.lock.release()
	})
	return err
}

// logDir is kfake's folder; what is ours lies beside it.
func (b *Broker) logDir() string { return filepath.Join(b.cfg.Dir, "log") }

func (b *Broker) openLog(ctx context.Context) error {
	aside := asideAt(b.cfg.Dir, b.logDir())
	restored, err := aside.recover()
	if err != nil {
		return fmt.Errorf(
			"embedded broker: put back the files of an interrupted compaction: %w", err,
		)
	}
	if restored {
		b.log.Warn(
			"a compaction was interrupted: its partitions are as they were before it", "dir",
			b.cfg.Dir,
		)
	}
	open, err := keepTransactions(b.logDir())
	if err != nil {
		return fmt.Errorf("embedded broker: remove old sessions: %w", err)
	}
	logs, err := scan(b.logDir())
	if err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	if err := dropOpenSnapshots(logs, open); err != nil {
		return fmt.Errorf("embedded broker: end old transactions: %w", err)
	}
	if err := b.trimOnDisk(logs); err != nil {
		return err
	}
	if err := b.restoreProducers(logs, open); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// One that was interrupted may have been killed for what it needs: serving comes first.
	if !restored && b.wantsCompaction(logs) {
		ok, err := b.openCompacting(ctx, aside, logs)
		if ok || err != nil {
			return err
		}
	}
	if err := b.openCluster(ctx, nil); err != nil {
		return err
	}
	return b.serve(ctx)
}

// serve lets clients in.
func (b *Broker) serve(ctx context.Context) error {
	err := b.endForgotten(ctx)
	if err != nil {
		err = fmt.Errorf("embedded broker: end the transactions of before a kill: %w", err)
	}
	if err = errors.Join(err, b.takeSequences()); err != nil {
		b.cluster.Close()
		return err
	}
	b.ln.openGate()
	return nil
}

// openCluster starts kfake behind a listener that accepts nobody yet. Warnings go to the log, and
// to onWarn if it is not nil.
func (b *Broker) openCluster(ctx context.Context, onWarn func(string)) error {
	_, port, _ := net.SplitHostPort(b.cfg.Addr)
	portNumber, _ := strconv.Atoi(port)
	var ln *listener
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.Ports(portNumber),
		kfake.ListenFn(func(_, _ string) (net.Listener, error) {
			inner := b.bound
			b.bound = nil
			if inner == nil { // a compaction has failed, and the listener went with its cluster
				var err error
				if inner, err = b.bind(ctx); err != nil {
					return nil, err
				}
			}
			ln = newListener(inner, &b.appends)
			return ln, nil
		}),
		kfake.ClusterID(uuid.NewString()),
		kfake.DataDir(b.logDir()),
		kfake.DefaultNumPartitions(1),
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.BrokerConfigs(brokerConfigs(b.cfg.segmentBytes())),
		kfake.WithLogger(logger{log: b.log, onWarn: onWarn}),
	}
	if b.cfg.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return fmt.Errorf("embedded broker: open the log in %s: %w", b.cfg.Dir, err)
	}
	b.cluster, b.ln = cluster, ln
	b.guardRequests()
	return nil
}

// maintain applies retention by bytes and the cap until the broker is closed.
func (b *Broker) maintain() {
	defer close(b.stopped)
	tick := time.NewTicker(b.cfg.CheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
			b.cluster.ApplyRetention()
			b.trimLive()
		}
	}
}

// logger passes kfake's warnings on; everything below is per request and of no interest.
type logger struct {
	log    *slog.Logger
	onWarn func(string)
}

// Logf implements kfake's Logger.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	if level > kfake.LogLevelWarn || level == kfake.LogLevelNone {
		return
	}
	msg := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.log.Warn("embedded broker", "what", msg)
	if l.onWarn != nil {
		l.onWarn(msg)
	}
}
