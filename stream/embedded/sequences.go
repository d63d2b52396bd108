package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

// Sequences of idempotent producers. kfake saves them when it is stopped and loads them when it
// starts. After a kill it would load those of the stop before: a producer that has gone on since is
// refused for good, for its numbers seem to jump. So the saved ones are taken away while the broker
// runs, and those of a log that was not stopped are made from its batches, as Kafka does.
const (
	// savedSequences is the file that kfake writes and loads, in its folder.
	savedSequences = "seq_windows.json"
	// startSequences holds what the log began with, in ours. Batches that compaction has rewritten
	// since tell less.
	startSequences = "sequences.json"
	// windowBatches is how many of a producer's newest batches are known again when it repeats one.
	windowBatches = 5
)

// sequences is kfake's file. A test holds the format.
type sequences struct {
	Version int              `json:"version"`
	Windows []sequenceWindow `json:"windows"`
	// Restored says that a start has made the file, no stop: if the start was killed, the log is to
	// be read again for transactions. kfake does not know it.
	Restored bool `json:"restored,omitempty"`
}

// sequenceWindow holds the newest batches of a producer in a partition.
type sequenceWindow struct {
	PID       int64                        `json:"pid"`
	Topic     string                       `json:"topic"`
	Partition int32                        `json:"partition"`
	Entries   [windowBatches]sequenceEntry `json:"entries"`
	Count     uint8                        `json:"count"`
	At        uint8                        `json:"at"` // where the next entry goes
	Epoch     int16                        `json:"epoch"`
	Seen      bool                         `json:"seen"`
	Next      int32                        `json:"next_seq"`
}

type sequenceEntry struct {
	First  int32 `json:"first_seq"`
	Next   int32 `json:"next_seq"`
	Offset int64 `json:"offset"`
}

// newest returns the offset of the newest batch that is known, -1 for none.
func (w *sequenceWindow) newest() int64 {
	newest := int64(-1)
	for _, e := range w.Entries[:w.Count] {
		newest = max(newest, e.Offset)
	}
	return newest
}

// add notes a batch of the log.
func (w *sequenceWindow) add(epoch int16, e sequenceEntry) {
	if epoch != w.Epoch || !w.Seen {
		w.Epoch, w.Seen, w.At, w.Count = epoch, true, 0, 0
		w.Entries = [windowBatches]sequenceEntry{}
	}
	w.Next = e.Next
	w.Entries[w.At] = e
	w.At = (w.At + 1) % windowBatches
	w.Count = min(w.Count+1, windowBatches)
}

// restoreProducers makes the file of sequences that kfake loads, unless a stop has saved it, and
// finds the transactions that kfake forgets.
func (b *Broker) restoreProducers(logs []partitionLog, open openTransactions) error {
	saved := filepath.Join(b.logDir(), savedSequences)
	begin := filepath.Join(b.cfg.Dir, startSequences)
	s, stopped, err := readSequences(saved)
	if err != nil {
		return err
	}
	atStart, started, err := readSequences(begin)
	if err != nil {
		return err
	}
	if stopped && started && !s.Restored {
		return nil
	}
	if !stopped {
		s = atStart
	}
	b.forgotten = make(forgotten)
	if err := s.replay(logs, b.forgotten); err != nil {
		return err
	}
	b.forgotten.leaveOut(open)
	if len(s.Windows) == 0 {
		return nil
	}
	s.Restored = true
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("embedded broker: write sequences: %w", err)
	}
	if err := writeFile(saved, raw); err != nil {
		return fmt.Errorf("embedded broker: write sequences: %w", err)
	}
	return nil
}

// takeSequences takes away what kfake has loaded: it is out of date when the first client writes.
func (b *Broker) takeSequences() error {
	err := os.Rename(
		filepath.Join(b.logDir(), savedSequences), filepath.Join(b.cfg.Dir, startSequences),
	)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("embedded broker: take sequences away: %w", err)
	}
	return nil
}

func readSequences(name string) (s sequences, found bool, err error) {
	raw, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return sequences{Version: 1}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return s, false, fmt.Errorf("embedded broker: read sequences: %w", err)
	}
	return s, true, nil
}

// replay adds the batches of the log behind those that are known, and notes transactions.
func (s *sequences) replay(logs []partitionLog, transactions forgotten) error {
	type producer struct {
		pid       int64
		topic     string
		partition int32
	}
	at := make(map[producer]int, len(s.Windows))
	known := make(map[producer]int64, len(s.Windows))
	for i := range s.Windows {
		w := &s.Windows[i]
		p := producer{w.PID, w.Topic, w.Partition}
		at[p], known[p] = i, w.newest()
	}
	for i := range logs {
		l := &logs[i]
		err := l.eachIntact(func(raw []byte) {
			transactions.note(l, raw)
			pid, epoch, e, ok := produced(raw)
			if !ok {
				return
			}
			p := producer{pid, l.topic, int32(l.partition)}
			n, found := at[p]
			if !found {
				n = len(s.Windows)
				at[p], known[p] = n, -1
				s.Windows = append(s.Windows, sequenceWindow{
					PID: pid, Topic: l.topic, Partition: int32(l.partition),
				})
			}
			if e.Offset > known[p] {
				s.Windows[n].add(epoch, e)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	attrTransactional = 0x0010
	attrControl       = 0x0020
	batchLastAt       = 23 // the last offset's difference to the base
	batchPIDAt        = 43
	batchEpochAt      = 51
	batchSequences    = 53
)

// produced returns the producer of a batch, its epoch and the sequence, unless nobody counts it.
func produced(raw []byte) (pid int64, epoch int16, e sequenceEntry, ok bool) {
	be := binary.BigEndian
	pid, first := int64(be.Uint64(raw[batchPIDAt:])), int32(be.Uint32(raw[batchSequences:]))
	if pid < 0 || first < 0 || be.Uint16(raw[batchAttrsAt:])&attrControl != 0 {
		return 0, 0, e, false
	}
	count := int64(be.Uint32(raw[batchLastAt:])) + 1
	return pid, int16(be.Uint16(raw[batchEpochAt:])), sequenceEntry{
		First: first, Next: int32((int64(first) + count) % math.MaxInt32),
		Offset: int64(be.Uint64(raw)),
	}, true
}

// eachIntact calls f with each batch, in the order of offsets. It ends a segment where kfake
// would: at a batch that is cut or damaged. A checksum that kfake has spoiled is put right first.
func (l *partitionLog) eachIntact(f func(raw []byte)) error {
	for _, seg := range l.segments {
		name := filepath.Join(l.dir, strconv.FormatInt(seg.base, 10)+".dat")
		segment, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("embedded broker: read %s/%d: %w", l.topic, l.partition, err)
		}
		if err := repairChecksums(name, segment); err != nil {
			return fmt.Errorf("embedded broker: repair %s/%d: %w", l.topic, l.partition, err)
		}
		eachBatch(segment, func(raw []byte) bool {
			if !intact(raw) {
				return false
			}
			f(raw)
			return true
		})
	}
	return nil
}

// writeFile puts a file in place as a whole.
func writeFile(name string, raw []byte) error {
	f, err := os.Create(name + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
