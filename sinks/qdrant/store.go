// Package qdrant keeps the vectors of users and items in Qdrant: the contracts sinktest.Users and
// sinktest.Items, each in a collection of its own, found by one approximate nearest-neighbour
// search.
//
// A point's id is schemas.Key of the user or item. Upserts are conditional in the engine itself
// (update_filter), so that of two writers the newer state stays whatever the order of arrival.
// Collections carry a version in their name and stand behind an alias, so that a rebuild fills new
// ones beside the live ones and switches both at once.
package qdrant

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	pb "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/slipstream-rec/slipstream/fault"
)

// maxMessage bounds an answer: a thousand users with long seen sets are tens of megabytes, gRPC's
// default is four.
const maxMessage = 256 << 20

// Store is a connection to Qdrant with the two collections. Safe for concurrent use.
type Store struct {
	cfg   Config
	conn  *conn
	users Users
	items Items
	// version is 0 for the live collections; see Beside.
	version int
}

type conn struct {
	clients []*pb.GrpcClient
	next    atomic.Uint32
	closed  atomic.Bool
}

func newStore(cfg Config, conn *conn, version int) *Store {
	s := &Store{cfg: cfg, conn: conn, version: version}
	s.users = Users{collection{s: s, name: "users", layout: usersLayout(&s.cfg)}}
	s.items = Items{collection{s: s, name: "items", layout: itemsLayout(&s.cfg)}}
	return s
}

// Open connects to Qdrant and pings it. It does not create collections; Migrate does.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c, err := dial(&cfg)
	if err != nil {
		return nil, fmt.Errorf("open qdrant %s: %w", cfg.Addr, err)
	}
	s := newStore(cfg, c, 0)
	if err := s.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open qdrant %s: %w", cfg.Addr, err), c.close())
	}
	return s, nil
}

// dial makes the connections of a configuration that is valid. They connect when they are used.
func dial(cfg *Config) (*conn, error) {
	host, port, err := cfg.hostPort()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	retry := backoff.DefaultConfig
	// gRPC waits up to two minutes between attempts to connect. A store that is back is found
	// sooner.
	retry.BaseDelay, retry.MaxDelay = 100*time.Millisecond, 2*time.Second
	c := &conn{}
	for range cfg.Connections {
		client, err := pb.NewGrpcClient(&pb.Config{
			Host: bracket(host),
			Port: port, APIKey: cfg.APIKey, UseTLS: cfg.TLS, TLSConfig: tlsConfig,
			SkipCompatibilityCheck: true,
			GrpcOptions: []grpc.DialOption{
				grpc.WithDefaultCallOptions(
					grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
				grpc.WithConnectParams(grpc.ConnectParams{
					Backoff: retry, MinConnectTimeout: 5 * time.Second,
				}),
			},
		})
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.clients = append(c.clients, client)
	}
	return c, nil
}

// close closes every connection, once.
func (c *conn) close() error {
	if c.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, client := range c.clients {
		errs = append(errs, client.Close())
	}
	return errors.Join(errs...)
}

// Users returns the users' collection. Its Close does nothing: the Store is closed as a whole.
func (s *Store) Users() *Users { return &s.users }

// Items returns the items' collection. Its Close does nothing: the Store is closed as a whole.
func (s *Store) Items() *Items { return &s.items }

// Migrate creates what is missing of both collections.
func (s *Store) Migrate(ctx context.Context) error {
	return errors.Join(s.users.Migrate(ctx), s.items.Migrate(ctx))
}

// Ping returns nil when Qdrant answers.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	_, err := s.client().Qdrant().HealthCheck(ctx, &pb.HealthCheckRequest{})
	return s.fail(ctx, "ping", err)
}

// Close ends the connections; calls under way end with an error. Further calls are no-ops, as on a
// store that Beside returned.
func (s *Store) Close() error {
	if s.version > 0 {
		return nil
	}
	return s.conn.close()
}

func (s *Store) client() *pb.GrpcClient {
	n := uint32(len(s.conn.clients)) //nolint:gosec // at most 64
	return s.conn.clients[s.conn.next.Add(1)%n]
}

func (s *Store) fail(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if s.conn.closed.Load() {
		return &fault.Error{
			Class: fault.Canceled, Err: fmt.Errorf("qdrant %s: the store is closed: %w", what, err),
		}
	}
	return fmt.Errorf("qdrant %s: %w", what, classify(ctx, err))
}

func bracket(host string) string {
	if strings.Contains(host, ":") && net.ParseIP(host) != nil {
		return "[" + host + "]"
	}
	return host
}
