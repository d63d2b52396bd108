package eval

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// timedEvery is the spacing of the events whose CPU time is measured: asking the system for it
// costs a third of a microsecond.
const timedEvery = 7

// stopwatch adds up the CPU time of the calling thread over some of the events.
type stopwatch struct {
	since, sum time.Duration
	n          int
}

func (s *stopwatch) start(n int) {
	if n%timedEvery != 0 {
		return
	}
	runtime.LockOSThread()
	s.since = threadTime()
}

func (s *stopwatch) stop(n int) {
	if n%timedEvery != 0 {
		return
	}
	s.sum += threadTime() - s.since
	s.n++
	runtime.UnlockOSThread()
}

func (s *stopwatch) micros() float64 {
	if s.n == 0 {
		return 0
	}
	return float64(s.sum.Nanoseconds()) / 1000 / float64(s.n)
}

func threadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
