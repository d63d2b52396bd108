package sinks

import (
	"fmt"

	"github.com/slipstream-rec/slipstream/fault"
)

// Position is a place in one partition of the log, comparable with every other place of that
// partition: epoch · 2^44 + offset. The epoch of a log is raised when the log is restored from a
// copy or its topics get another number of partitions, since then offsets start again at 0. A
// position of a later epoch is higher than any of an earlier one. Qdrant compares positions as
// float64, in which they are exact.
type Position int64

// The epochs. A log starts with FirstEpoch. Beyond LastEpoch a position would not be exact in a
// float64.
const (
	FirstEpoch = 128
	LastEpoch  = 511
)

// Offsets fill the lower bits. In each epoch 2^44 of them last 200 days at a million records per
// second and partition.
const (
	offsetBits = 44
	// EpochStart is the lowest number that holds an epoch: a stored position below it is a plain
	// offset, written before positions had epochs.
	EpochStart = 1 << offsetBits
	maxOffset  = EpochStart - 1
)

// PositionOf returns the position of an offset, which is from 0 to 2^44-1, in an epoch from
// FirstEpoch to LastEpoch. For other values the result is not valid (IsValid).
func PositionOf(epoch int, offset int64) Position {
	if epoch < FirstEpoch || epoch > LastEpoch || offset < 0 || offset > maxOffset {
		return -1
	}
	return Position(epoch)<<offsetBits | Position(offset)
}

// StoredPosition returns the position that a stored number stands for. A plain offset belongs to
// FirstEpoch.
func StoredPosition(stored int64) Position {
	if 0 <= stored && stored <= maxOffset {
		return PositionOf(FirstEpoch, stored)
	}
	return Position(stored)
}

// Epoch returns the epoch of a valid position.
func (p Position) Epoch() int { return int(p >> offsetBits) }

// Offset returns the offset of a valid position.
func (p Position) Offset() int64 { return int64(p) & maxOffset }

// IsValid reports whether the position has an epoch from FirstEpoch to LastEpoch.
func (p Position) IsValid() bool {
	return p >= 0 && p.Epoch() >= FirstEpoch && p.Epoch() <= LastEpoch
}

// String returns "epoch:offset".
func (p Position) String() string {
	if !p.IsValid() {
		return fmt.Sprintf("invalid position %d", int64(p))
	}
	return fmt.Sprintf("%d:%d", p.Epoch(), p.Offset())
}

// CheckPositions returns a permanent error when the user has no position of src, or one that is
// not valid. Stores call it before they compare.
func (u *User) CheckPositions(src Source) error {
	if _, ok := u.Positions[src.Topic]; !ok {
		return fault.Permanentf("user %q has no position of %s", u.ID, src.Topic)
	}
	for topic, p := range u.Positions {
		if !p.IsValid() {
			return fault.Permanentf("user %q: %s of %s", u.ID, p, topic)
		}
	}
	return nil
}
