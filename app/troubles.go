package app

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// troublePatience is how long something fails before the log says so.
	troublePatience = 10 * time.Second
	// troubleQuiet is how long it must not have failed before the log says that it works again:
	// what fails and succeeds in turns is one trouble.
	troubleQuiet = time.Minute
)

// troubles are what fails and is tried again: processors, consumer groups, followers, periodic
// tasks, requests. The log has one line when a trouble begins and one when it is over. Those of an
// engine that is away have none, since the engine has its own. The zero value is empty. Safe for
// concurrent use.
type troubles struct {
	mu sync.Mutex
	of map[string]*trouble
}

// trouble is one series of failures.
type trouble struct {
	// since is the first failure, or when the outage of an engine that explains the others ended.
	since, last time.Time
	// failures are those since then.
	failures int
	err      error
	// over: it has worked since the last failure. Of requests nobody hears that they work: they
	// are over when none has failed for a while.
	over, request bool
	told          bool
}

// fails notes a failure of something that works notes, too.
func (t *troubles) fails(what string, err error) { t.note(what, err, false) }

// requestFails notes a failure of something that is heard of only when it fails.
func (t *troubles) requestFails(what string, err error) { t.note(what, err, true) }

func (t *troubles) note(what string, err error, request bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := now()
	x := t.of[what]
	if x == nil {
		if t.of == nil {
			t.of = make(map[string]*trouble)
		}
		x = &trouble{since: at, request: request}
		t.of[what] = x
	}
	x.last, x.err, x.over = at, err, request
	x.failures++
}

// works notes a success.
func (t *troubles) works(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.of[what]; x != nil {
		x.over = true
	}
}

// report logs what has begun and what is over. explained is set while an engine is away, and a
// little longer: what fails meanwhile fails because of it.
func (t *troubles) report(log *slog.Logger, explained bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := now()
	for _, what := range slices.Sorted(maps.Keys(t.of)) {
		x := t.of[what]
		lasts := !x.over && at.Sub(x.since) >= troublePatience ||
			x.last.Sub(x.since) >= troublePatience
		switch {
		case x.over && at.Sub(x.last) >= troubleQuiet:
			if x.told {
				log.Info(
					"it works again", "what", what, "after", round(x.last.Sub(x.since)).String(),
				)
			}
			delete(t.of, what)
		case x.told:
		case explained:
			x.since, x.failures = at, 0
		case x.failures > 0 && lasts:
			log.Warn("it fails and is tried again", "what", what,
				"since", x.since.UTC().Format(time.RFC3339), "failures", x.failures,
				"error", x.err)
			x.told = true
		}
	}
}

// round leaves out what nobody wants to know of a duration.
func round(d time.Duration) time.Duration { return d.Round(time.Second) }
