package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// growth compares the cost of an event when the world or the backlog is ten times as large.
func (b *bench) growth(ctx context.Context) (*section, error) {
	s := &section{Title: "Growth: what an event costs when everything is ten times as large"}
	s.Notes = append(
		s.Notes,
		fmt.Sprintf(
			"All processors on, backlog of %s events (base), one in twenty a friendship. "+
				"\"Users ×10\" has ten times as many active at once, so that fewer events of a "+
				"batch are of the same user.",
			number(float64(b.o.backlog), 0),
		),
	)
	t := table{
		Title: "CPU µs per event",
		Columns: append(
			append([]string{"world", "events/s", "ours", "against the base"}, engineNames...),
			"all", "against the base", "our memory, MiB",
		),
	}
	for _, real := range []bool{true, false} {
		if real && !b.engines.stores {
			s.Notes = append(s.Notes, "No real engines were named.")
			continue
		}
		kind := engineKind(real)
		var base usage
		for i, g := range []struct {
			label                string
			users, items, events int
		}{
			{"base", baseUsers, baseItems, b.o.backlog},
			{"users ×10", 10 * baseUsers, baseItems, b.o.backlog},
			{"items ×10", baseUsers, 10 * baseItems, b.o.backlog},
			{"backlog ×10", baseUsers, baseItems, b.o.long},
		} {
			if i > 0 && !strings.Contains(kind+": "+g.label, b.o.match) ||
				base.events == 0 && i > 0 {
				continue
			}
			if !real && g.events > b.o.backlog {
				continue // the embedded broker keeps at most a gibibyte of log
			}
			u, err := b.grown(ctx, kind+" "+g.label, real, g.users, g.items, g.events)
			if err != nil && i == 0 {
				return nil, fmt.Errorf("%s: %w", g.label, err)
			}
			if err != nil {
				b.say("  %s: %v", g.label, err)
				s.Notes = append(
					s.Notes,
					fmt.Sprintf("Not measured, %s, %s: %.300s", kind, g.label, err.Error()),
				)
				continue
			}
			if i == 0 {
				base = u
			}
			b.say(
				"  %s, %-12s %6.0f events/s, ours %.0f µs, all %.0f µs per event", kind, g.label,
				u.rate(), u.perEvent(u.ours), u.perEvent(u.total()),
			)
			row := append([]string{
				kind + ", " + g.label, number(u.rate(), 0), number(u.perEvent(u.ours), 0),
				number(u.perEvent(u.ours)/base.perEvent(base.ours), 2),
			}, u.split()...)
			t.add(append(
				row, number(u.perEvent(u.total()), 0),
				number(u.perEvent(u.total())/base.perEvent(base.total()), 2), number(u.memory, 0),
			)...)
		}
	}
	s.Tables = []table{t}
	return s, nil
}

func (b *bench) grown(
	ctx context.Context,
	label string,
	real bool,
	users, items, events int,
) (usage, error) {
	in, err := b.start(ctx, "growth "+label, real, nil)
	if err != nil {
		return usage{}, err
	}
	defer in.stop()
	w := newWorld(11, users, items)
	if err := in.warm(ctx, w, b.o.backlog/5); err != nil {
		return usage{}, err
	}
	u, err := in.backlog(ctx, events, w.mixed)
	if err != nil {
		return usage{}, err
	}
	return u, in.check(ctx, w)
}

// soak runs live traffic for long and watches memory.
func (b *bench) soak(ctx context.Context) (*section, error) {
	s := &section{Title: "Soak: memory over time"}
	t := table{
		Title: "Resident memory of our process, MiB",
		Columns: []string{
			"engines", "events", "after 1 min", "a third", "two thirds", "end", "highest",
			"lag at the end",
		},
	}
	rate := b.o.soakRate
	for _, real := range []bool{true, false} {
		if real && !b.engines.stores || !strings.Contains(engineKind(real), b.o.match) {
			continue
		}
		kind := engineKind(real)
		in, err := b.start(ctx, "soak "+kind, real, nil)
		if err != nil {
			return nil, err
		}
		memory, emitted, err := b.soakOn(ctx, in, rate)
		in.stop()
		if err != nil {
			return nil, err
		}
		n := len(memory)
		t.add(
			kind, number(float64(emitted), 0), number(memory[min(60, n-1)], 0),
			number(memory[n/3], 0), number(memory[2*n/3], 0), number(memory[n-1], 0),
			number(slices.Max(memory), 0), "0",
		)
	}
	s.Notes = append(
		s.Notes,
		fmt.Sprintf(
			"%s events a second for %v, all processors on. The embedded process holds the "+
				"broker's log in memory too.",
			number(float64(rate), 0), b.o.soak,
		),
	)
	s.Tables = []table{t}
	return s, nil
}

func (b *bench) soakOn(
	ctx context.Context,
	in *installation,
	rate int,
) (memory []float64, emitted int, err error) {
	w := newWorld(13, baseUsers, baseItems)
	if err := in.warm(ctx, w, 10_000); err != nil {
		return nil, 0, err
	}
	emitted, err = in.producer.live(ctx, rate, b.o.soak, func() record.Record {
		return w.mixed()
	}, func(second, n int) {
		memory = append(memory, memoryOf(in.cmd.Process.Pid))
		if second%60 == 0 {
			b.say("  %s: %d events, %.0f MiB", in.name, n, memory[len(memory)-1])
		}
	})
	if err != nil {
		return nil, 0, err
	}
	if err := in.drained(ctx, 2*time.Minute); err != nil {
		return nil, 0, err
	}
	memory = append(memory, memoryOf(in.cmd.Process.Pid))
	return memory, emitted, in.check(ctx, w)
}
