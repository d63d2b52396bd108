package embedded

import (
	"context"
	"net"
	"sync"
)

// listener holds clients off until open is called, and can close every connection it has accepted.
type listener struct {
	net.Listener
	appends *appendTimes
	gate    chan struct{}
	closed  chan struct{}
	inside  chan net.Conn

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	openOnce sync.Once
	endOnce  sync.Once
}

func newListener(inner net.Listener, appends *appendTimes) *listener {
	return &listener{
		Listener: inner, appends: appends, gate: make(chan struct{}),
		closed: make(chan struct{}), inside: make(chan net.Conn), conns: map[net.Conn]struct{}{},
	}
}

// open lets clients in; those that have connected meanwhile are served now.
func (l *listener) openGate() { l.openOnce.Do(func() { close(l.gate) }) }

// connect returns a connection of this process, which is served before openGate.
func (l *listener) connect(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.inside <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept waits for openGate, then for a client.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.gate:
	case c := <-l.inside:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		_ = c.Close()
		return nil, net.ErrClosed
	default:
	}
	tc := &trackedConn{answering: &answering{Conn: c, appends: l.appends}, l: l}
	l.conns[tc] = struct{}{}
	return tc, nil
}

// Close stops accepting; the connections stay, so that requests in flight are answered.
func (l *listener) Close() error {
	l.endOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

func (l *listener) closeConns() {
	l.mu.Lock()
	conns := make([]net.Conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

type trackedConn struct {
	*answering
	l *listener
}

// Close closes the connection and forgets it.
func (c *trackedConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.answering.Close()
}
