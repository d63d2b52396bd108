package app

import (
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
)

// DeadLetters opens the dead letters of every group.
func (k *Kafka) DeadLetters() *deadletter.Store {
	return deadletter.New(k.conn, k.pub, k.conn.Names(), processors.Groups())
}
