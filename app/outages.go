package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/admin"
)

// engineKafka is the name of the log among the engines.
const engineKafka = "kafka"

// outagePatience is how long an engine must not have answered before the log says so: a busy one
// may miss a look.
const outagePatience = lookInterval

// countingPatience is for how many times the patience the log waits for how far the groups are
// behind when an engine is back.
const countingPatience = 6

// outageGrace is how long after an outage failures are still put down to it: processors wait before
// they try again.
const outageGrace = time.Minute

// outages know which engines are away, and since when. The log has one line when an engine goes
// away and one when it is back. The zero value is empty. Safe for concurrent use.
type outages struct {
	mu sync.Mutex
	of map[string]*outage
}

// outage is one time in which an engine did not answer.
type outage struct {
	since time.Time
	err   error
	told  bool
	// back is when it answered again; zero while it is away. The log is told when it is known how
	// far the groups are behind: until then it is counting.
	back     time.Time
	counting bool
	// behind is how many events its groups were behind then; -1 if that is not known.
	behind int64
	// before is the outage before this one, which is remembered if this is only a missed look.
	before *outage
}

// turn is what a look at an engine has found out.
type turn int

const (
	nothingNew turn = iota
	wentAway
	cameBack
)

// note takes in what an engine has answered: err is nil if it is well. It is told once it has been
// away for the patience. sinceBack is how long it has been back.
func (o *outages) note(
	engine string, err error, patience time.Duration,
) (what turn, sinceBack time.Duration) {
	at := now()
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.of[engine]
	if err == nil {
		switch {
		case x == nil || !x.back.IsZero() && !x.counting:
			return nothingNew, 0
		case !x.told && x.before == nil: // it missed a look
			delete(o.of, engine)
			return nothingNew, 0
		case !x.told:
			x = x.before
			o.of[engine] = x
			if !x.counting {
				return nothingNew, 0
			}
		case x.back.IsZero():
			x.back, x.behind, x.counting = at, -1, true
		}
		return cameBack, at.Sub(x.back)
	}
	x = o.begin(engine, at)
	x.err = err
	if x.told || at.Sub(x.since) < patience {
		return nothingNew, 0
	}
	x.told = true
	return wentAway, 0
}

// begin returns the outage of an engine that does not answer. The lock is held.
func (o *outages) begin(engine string, at time.Time) *outage {
	x := o.of[engine]
	if x == nil || !x.back.IsZero() {
		if o.of == nil {
			o.of = make(map[string]*outage)
		}
		before := x
		if before != nil {
			before.before = nil
		}
		x = &outage{since: at, before: before}
		o.of[engine] = x
	}
	return x
}

// explain adds to the error of an engine since when it is away.
func (o *outages) explain(engine string, err error) error {
	if err == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.begin(engine, now())
	x.err = err
	return fmt.Errorf("away since %s: %w", x.since.UTC().Format(time.RFC3339), err)
}

// counted notes how many events the groups of an engine were behind when it was back; -1 if that
// is not known. ok: the log has to be told of the end of this outage.
func (o *outages) counted(engine string, events int64) (_ outage, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.of[engine]
	if x != nil && x.back.IsZero() {
		x = x.before
	}
	if x == nil || !x.counting {
		return outage{}, false
	}
	x.behind, x.counting = events, false
	return *x, true
}

// last returns the last outage of an engine.
func (o *outages) last(engine string) (outage, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if x := o.of[engine]; x != nil {
		return *x, true
	}
	return outage{}, false
}

// away names the engines that do not answer.
func (o *outages) away() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o.of)) {
		if o.of[name].back.IsZero() {
			names = append(names, name)
		}
	}
	return names
}

// err names each engine that is away, since when and why; nil if none is.
func (o *outages) err() error {
	var all []error
	for _, name := range o.away() {
		x, _ := o.last(name)
		all = append(all, fmt.Errorf(
			"%s is away since %s: %w", name, x.since.UTC().Format(time.RFC3339), x.err,
		))
	}
	return errors.Join(all...)
}

// explains tells whether failures are to be put down to an outage.
func (o *outages) explains() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, x := range o.of {
		if x.back.IsZero() || now().Sub(x.back) < outageGrace {
			return true
		}
	}
	return false
}

// note is the sentence of /readyz about an engine that was away; empty if it was not lately.
func (x outage) note() string {
	if x.back.IsZero() || now().Sub(x.back) > time.Hour {
		return ""
	}
	s := fmt.Sprintf("back since %s, after %s", x.back.UTC().Format(time.RFC3339),
		round(x.back.Sub(x.since)))
	if x.behind >= 0 {
		s += ", " + thousands(x.behind) + " changes behind then"
	}
	return s
}

// thousands writes a number with commas.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var parts []string
	for len(digits) > 3 {
		parts = append([]string{digits[len(digits)-3:]}, parts...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, parts...), ",")
}

// tellOutage logs that an engine has gone away, or is back and how far its groups are behind.
// behind counts the events. It may fail, as the brokers do that have just come back: then it is
// asked again at the next looks, for some times the patience.
func (o *outages) tellOutage(
	log *slog.Logger, engine string, err error, patience time.Duration,
	behind func(engine string) (int64, error),
) {
	switch what, sinceBack := o.note(engine, err, patience); what {
	case nothingNew:
	case wentAway:
		o.tellBack(log, engine, -1) // it was back between
		x, _ := o.last(engine)
		log.Warn("an engine is away", "engine", engine,
			"since", x.since.UTC().Format(time.RFC3339), "error", err)
	case cameBack:
		n, err := behind(engine)
		switch {
		case err == nil:
			o.tellBack(log, engine, n)
		case sinceBack >= countingPatience*patience:
			o.tellBack(log, engine, -1)
		}
	}
}

// tellBack logs that an engine is back, if that is not told yet. behind is -1 if nobody knows it.
func (o *outages) tellBack(log *slog.Logger, engine string, behind int64) {
	x, ok := o.counted(engine, behind)
	if !ok {
		return
	}
	fields := []any{"engine", engine, "after", round(x.back.Sub(x.since)).String()}
	if behind >= 0 {
		fields = append(fields, "changes_behind", behind)
	}
	log.Warn("an engine is back", fields...)
}

// behind counts the events that the groups of an engine have not processed; those of Kafka are all.
func (a *App) behind(ctx context.Context, engine string) (n int64, err error) {
	all, want := a.kafka.GroupTopics(), map[string][]string{}
	for _, s := range a.engines.Stores {
		if storeArgument(s.Name) == engine {
			for _, group := range s.Groups {
				want[group] = all[group]
			}
		}
	}
	if engine == engineKafka {
		want = all
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	lags, err := admin.Lag(ctx, a.kafka.conn, want)
	for _, l := range lags {
		n += l.Lag
	}
	return n, err
}

// engineError is an error of an engine that is being opened.
type engineError struct {
	engine string
	err    error
}

func (e *engineError) Error() string { return e.err.Error() }
func (e *engineError) Unwrap() error { return e.err }

// ofEngine names the engine that an error is of.
func ofEngine(engine string, err error) error {
	if err == nil {
		return nil
	}
	return &engineError{engine, err}
}

// engineOf returns the engine that an error is of: the log, if it names none.
func engineOf(err error) string {
	var e *engineError
	if errors.As(err, &e) {
		return e.engine
	}
	return engineKafka
}

// tellStart logs which engine a start waits for. err is that of the attempt, nil if it succeeded
// and a is the process.
func (o *outages) tellStart(ctx context.Context, log *slog.Logger, a *App, err error) {
	if err != nil && fault.ClassOf(err) != fault.Transient {
		return // waiting does not help
	}
	missing := ""
	if err != nil {
		missing = engineOf(err)
	}
	behind := func(engine string) (int64, error) {
		if a == nil {
			return 0, errors.New("not known yet")
		}
		return a.behind(ctx, engine)
	}
	for _, engine := range o.away() {
		if engine != missing {
			o.tellOutage(log, engine, nil, 0, behind)
		}
	}
	if missing != "" {
		o.tellOutage(log, missing, err, 0, behind)
	}
}
