package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// direct sends a request of kafka-go past the transport's own handling: metadata is not answered from its cache.
type direct struct {
	inner    protocol.Message
	clientID string
	version  int16
}

// ApiKey names the request's kind; see protocol.Message.
func (d *direct) ApiKey() protocol.ApiKey { return d.inner.ApiKey() }

// Required reports that the exchange is always done here; see protocol.RawExchanger.
func (d *direct) Required(versions map[protocol.ApiKey]int16) bool {
	d.version = versions[d.inner.ApiKey()]
	return true
}

// RawExchange performs the exchange.
func (d *direct) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	res, err := protocol.RoundTrip(rw, d.version, 1, d.clientID, d.inner)
	return answer{res}, err
}

// answer hides the type of a response from the transport, which would take it for the answer to a request of its own.
type answer struct{ protocol.Message }

// unwrap undoes it.
func unwrap(m protocol.Message, err error) (protocol.Message, error) {
	if a, ok := m.(answer); ok {
		return a.Message, err
	}
	return m, err
}

// directTo sends a request to one broker. kafka-go would look up a group's coordinator for every request, and sends heartbeats to any broker.
type directTo struct {
	direct
	broker int32
}

// Broker routes the request; see protocol.BrokerMessage.
func (d *directTo) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: d.broker}, nil
}

// ask sends a request to any broker.
func (c *Conn) ask(ctx context.Context, timeout time.Duration, req protocol.Message) (protocol.Message, error) {
	return unwrap(c.roundTrip(ctx, timeout, &direct{inner: req, clientID: c.cfg.ClientID}))
}

// askBroker sends a request to one broker.
func (c *Conn) askBroker(ctx context.Context, timeout time.Duration, broker int32, req protocol.Message) (protocol.Message, error) {
	return unwrap(c.roundTrip(ctx, timeout, &directTo{direct: direct{inner: req, clientID: c.cfg.ClientID}, broker: broker}))
}

// coordinator knows the broker that coordinates a group.
type coordinator struct {
	conn  *Conn
	group string

	mu     sync.Mutex
	broker int32
	known  bool
}

// ask sends a request to the group's coordinator. Hand the error code of the answer to noted, which sees when it is another one now.
func (c *coordinator) ask(ctx context.Context, timeout time.Duration, req protocol.Message) (protocol.Message, error) {
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
	res, err := c.conn.client.FindCoordinator(ctx, &kafka.FindCoordinatorRequest{Key: c.conn.full(c.group)})
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

// noted looks at an error code of an answer: when the coordinator has moved it is looked up again the next time.
func (c *coordinator) noted(code int16) error {
	if code == 0 {
		return nil
	}
	err := kafkaCode(code)
	if errors.Is(err, kafka.NotCoordinatorForGroup) || errors.Is(err, kafka.GroupCoordinatorNotAvailable) {
		c.forget()
	}
	return err
}
