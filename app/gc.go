package app

import (
	"os"
	"runtime/debug"
)

// gcPercent is the GOGC of a process. The live heap is small, some tens of MiB, and garbage per
// event is high. GOGC=200 saves about 5 % CPU for about 50 % more heap.
const gcPercent = 200

// relaxGC sets gcPercent unless GOGC is set. GOMEMLIMIT still applies. The embedded broker keeps
// its log in the heap, where 50 % more would be too much.
func relaxGC(embedded bool) {
	if os.Getenv("GOGC") == "" && !embedded {
		debug.SetGCPercent(gcPercent)
	}
}
