package app

import (
	"os"
	"runtime/debug"
)

// gcPercent is by how much the heap may grow before it is collected. What lives long is small here,
// some tens of MiB, and what an event leaves behind is much: collecting half as often as Go does by
// itself saves a twentieth of the processor for half as much memory again.
const gcPercent = 200

// relaxCollector sets it where GOGC does not say otherwise. GOMEMLIMIT still bounds the whole. The
// embedded broker keeps its log in the heap, and half of that again would be too much.
func relaxCollector(embedded bool) {
	if os.Getenv("GOGC") == "" && !embedded {
		debug.SetGCPercent(gcPercent)
	}
}
