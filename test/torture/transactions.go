//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/schemas"
)

// transactor writes in transactions, one after the other.
type transactor struct {
	foreign *foreign
	id      string
	client  *kgo.Client
}

// transactionTimeout is after how long the broker aborts what its producer has left open.
const transactionTimeout = 20 * time.Second

// run writes records in one transaction, keeps it open until ctx ends or for as long as hold says,
// and ends it. It returns aborted where the transaction surely has not been committed, and
// uncertain where it may have been.
func (t *transactor) run(
	ctx, hard context.Context, records []*kgo.Record, commit bool, hold time.Duration,
) fate {
	if t.client == nil {
		var err error
		t.client, err = t.foreign.connect(
			kgo.TransactionalID(t.foreign.prefix+t.id), kgo.TransactionTimeout(transactionTimeout),
		)
		if err != nil {
			return aborted
		}
	}
	if err := t.client.BeginTransaction(); err != nil {
		t.drop()
		return aborted
	}
	short, cancel := context.WithTimeout(hard, transactionTimeout)
	err := t.client.ProduceSync(short, copies(records)...).FirstErr()
	cancel()
	if err != nil || !commit {
		wait(ctx, hold)
		t.abort(hard)
		return aborted
	}
	wait(ctx, hold)
	ending, cancel := context.WithTimeout(hard, 2*transactionTimeout)
	defer cancel()
	switch err := t.client.EndTransaction(ending, kgo.TryCommit); {
	case err == nil:
		return acknowledged
	case errors.Is(err, kerr.OperationNotAttempted), errors.Is(err, kerr.TransactionAbortable):
		t.abort(hard)
		return aborted
	default:
		t.abort(hard)
		return uncertain
	}
}

// abort ends the transaction. Where that fails the broker does it: when the next client with the
// same id begins, or after the timeout.
func (t *transactor) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	err := t.client.AbortBufferedRecords(ctx)
	if err == nil {
		err = t.client.EndTransaction(ctx, kgo.TryAbort)
	}
	if err != nil {
		t.drop()
	}
}

func (t *transactor) drop() {
	if t.client != nil {
		t.client.Close()
		t.client = nil
	}
}

// transact writes in transactions until ctx ends: most are committed, some are aborted, some are
// aborted and written again with the same ids, and some stay open for seconds.
func (l *load) transact(ctx, hard context.Context, n int) {
	s := l.sender(fmt.Sprintf("transactions%d", n), uint64(600+n))
	t := &transactor{foreign: s.foreign, id: s.name}
	defer t.drop()
	for wait(ctx, between(s.rand, time.Second, 3*time.Second)) {
		events := l.mixed(s, 1+s.rand.IntN(12))
		plan, hold := s.rand.IntN(4), time.Duration(0)
		if s.rand.IntN(6) == 0 {
			hold = between(s.rand, time.Second, 8*time.Second)
			l.ledger.count(func(g *ledger) { g.transactions.Open++ })
		}
		records, ids, err := s.write(events)
		if err != nil {
			panic(err) // events of ours are JSON
		}
		if plan < 2 {
			l.count(t.run(ctx, hard, records, false, hold))
			l.ledger.dropped(ids...)
			if plan == 0 {
				continue
			}
		}
		for {
			got := t.run(ctx, hard, records, true, hold)
			if l.count(got); got == acknowledged {
				l.ledger.acked(inTransactions, ids...)
				break
			}
			l.ledger.count(func(g *ledger) {
				for _, id := range ids {
					if g.events[id].fate == aborted && got == uncertain {
						g.events[id].fate = uncertain
					}
				}
			})
			if hold = 0; !wait(hard, 300*time.Millisecond) {
				return
			}
		}
	}
}

func (l *load) count(how fate) {
	l.ledger.count(func(g *ledger) {
		switch how {
		case acknowledged:
			g.transactions.Committed++
		case aborted:
			g.transactions.Aborted++
		case uncertain:
			g.transactions.Uncertain++
		}
	})
}

// mixed draws events of all kinds.
func (l *load) mixed(s *sender, n int) []schemas.Event {
	events := make([]schemas.Event, n)
	for i := range events {
		switch s.rand.IntN(10) {
		case 0:
			// What comes late in a transaction is older than what others have written since.
			x := l.world.catalog(s.rand.IntN(l.world.items), 1+s.rand.IntN(1000))
			events[i] = &x
		case 1:
			a := 1 + s.rand.IntN(l.world.users-1)
			events[i] = &schemas.Friendship{
				UserID: l.world.user(a), FriendID: l.world.user(s.rand.IntN(a)),
				Removed: s.rand.IntN(3) == 0, OccurredAt: stamp(),
			}
		default:
			u := s.rand.IntN(l.world.users)
			x := l.world.interaction(s.rand, u, l.world.heldOutOf(u))
			events[i] = &x
		}
	}
	return events
}
