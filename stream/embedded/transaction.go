package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// openTransactions tells which partitions have records of an open transaction that kfake knows of:
// by topic, then partition.
type openTransactions map[string]map[int]bool

// keepTransactions removes from what a clean stop has saved all but the open transactions, so that
// their producers can end them, or their timeouts do. The members belong to processes that are
// gone: keeping them would make the first rebalance wait for their session timeouts.
func keepTransactions(logDir string) (openTransactions, error) {
	path := filepath.Join(logDir, "session_state.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var state struct {
		ShutdownAt     json.RawMessage   `json:"shutdownAt"`
		InProgressTxns []json.RawMessage `json:"inProgressTxns"`
	}
	open := openTransactions{}
	if json.Unmarshal(raw, &state) == nil { // kfake ignores what it cannot read as well
		for _, raw := range state.InProgressTxns {
			var txn struct {
				First map[string]map[int]int64 `json:"txPartFirstOffsets"`
			}
			if err := json.Unmarshal(raw, &txn); err != nil {
				return nil, fmt.Errorf("read %s: %w", path, err)
			}
			for topic, partitions := range txn.First {
				if open[topic] == nil {
					open[topic] = make(map[int]bool, len(partitions))
				}
				for p := range partitions {
					open[topic][p] = true
				}
			}
		}
	}
	if len(state.InProgressTxns) == 0 {
		return nil, os.Remove(path)
	}
	kept, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	return open, os.WriteFile(path, kept, 0o644)
}

// dropOpenSnapshots deletes the snapshots of partitions with open transactions that kfake does not
// know of any more. After a kill what the snapshot says is all that is left, and the partition
// could not be read beyond it. Without the snapshot kfake reads the whole partition, and aborts
// what has no end (see forgotten).
func dropOpenSnapshots(logs []partitionLog, open openTransactions) error {
	for i := range logs {
		l := &logs[i]
		path := filepath.Join(l.dir, "snapshot.json")
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		var snapshot struct {
			HighWatermark    int64 `json:"high_watermark"`
			LastStableOffset int64 `json:"last_stable_offset"`
		}
		if json.Unmarshal(raw, &snapshot) == nil &&
			(snapshot.LastStableOffset >= snapshot.HighWatermark || open[l.topic][l.partition]) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
