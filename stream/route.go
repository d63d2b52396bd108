package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/slipstream-rec/slipstream/stream/internal/wire"
)

// ask sends a request to any broker.
func (c *Conn) ask(
	ctx context.Context,
	timeout time.Duration,
	req protocol.Message,
) (protocol.Message, error) {
	return wire.Answer(c.roundTrip(ctx, timeout, wire.Direct(req, c.cfg.ClientID)))
}

// askBroker sends a request to one broker.
func (c *Conn) askBroker(
	ctx context.Context,
	timeout time.Duration,
	broker int32,
	req protocol.Message,
) (protocol.Message, error) {
	return wire.Answer(c.roundTrip(ctx, timeout, wire.DirectTo(req, c.cfg.ClientID, broker)))
}

// coordinator knows the broker that coordinates a group.
type coordinator struct {
	conn  *Conn
	group string

	mu     sync.Mutex
	broker int32
	known  bool
}

// ask sends a request to the group's coordinator. Hand the error code of the answer to noted, which
// sees when it is another one now.
func (c *coordinator) ask(
	ctx context.Context,
	timeout time.Duration,
	req protocol.Message,
) (protocol.Message, error) {
	broker, err := c.find(ctx, timeout)
	if err != nil {
		return nil, err
	}
	res, err := c.conn.askBroker(ctx, timeout, broker, req)
	if err != nil && ctx.Err() == nil {
		c.forget()
	}
	return res, err
}

func (c *coordinator) find(ctx context.Context, timeout time.Duration) (int32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known {
		return c.broker, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := c.conn.client.FindCoordinator(
		ctx, &kafka.FindCoordinatorRequest{Key: c.conn.FullGroup(c.group)},
	)
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return -1, fmt.Errorf("find the coordinator of group %s: %w", c.group, err)
	}
	c.broker, c.known = int32(res.Coordinator.NodeID), true
	return c.broker, nil
}

func (c *coordinator) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = false
}

// noted looks at an error code of an answer: when the coordinator has moved it is looked up again
// the next time.
func (c *coordinator) noted(code int16) error {
	if code == 0 {
		return nil
	}
	err := wire.Code(code)
	if errors.Is(err, kafka.NotCoordinatorForGroup) ||
		errors.Is(err, kafka.GroupCoordinatorNotAvailable) {
		c.forget()
	}
	return err
}
