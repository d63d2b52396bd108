package app

import (
	"context"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// DeadLetters returns the dead letters of every group, with an index that all callers share.
func (k *Kafka) DeadLetters() *deadletter.Store { return k.letters }

func (k *Kafka) openLetters(actions *schemas.Actions) *deadletter.Store {
	return deadletter.New(
		k.conn, k.pub, k.conn.Names(), processors.Groups(), processors.NewReplayCheck(actions),
	)
}

// PastOf returns what is known of the records of a group that became dead letters, still empty.
func (k *Kafka) PastOf(group string) *deadletter.Past {
	return deadletter.NewPast(k.conn, k.conn.Names(), group)
}

// LettersOf implements processors.LetterLog.
func (k *Kafka) LettersOf(
	ctx context.Context, group string,
) (func(r *record.Record) bool, error) {
	past := k.PastOf(group)
	if err := past.Update(ctx); err != nil {
		return nil, err
	}
	return past.Has, nil
}
