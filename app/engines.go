package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/clickhouse"
	"github.com/slipstream-rec/slipstream/sinks/neo4j"
	"github.com/slipstream-rec/slipstream/sinks/qdrant"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
)

// StoreFile is the file of the embedded store in the data folder. LogFolder is the folder of the
// embedded log, and RebuildFolder that of a store that is being built anew.
const (
	StoreFile     = "slipstream.db"
	LogFolder     = "kafka"
	RebuildFolder = "rebuild"
)

// Engines are the stores behind their contracts. This file is the only place that chooses them.
type Engines struct {
	Users     UserStore
	Items     ItemStore
	Graph     GraphStore
	Analytics AnalyticsStore
	// Stores lists each store once, with its name and the consumer groups that fill it.
	Stores []NamedStore
}

// UserStore is what the processors, the recommender and a rebuild need of the user store.
type UserStore interface {
	processors.UsersStore
	recommend.UserFinder
	CountUsers(ctx context.Context) (int64, error)
}

// ItemStore is what the processors, the recommender and a rebuild need of the item store.
type ItemStore interface {
	processors.ItemStore
	recommend.ItemFinder
	CountItems(ctx context.Context) (int64, error)
}

// GraphStore is what the processors, the recommender and a rebuild need of the graph.
type GraphStore interface {
	Store
	processors.EdgeStore
	recommend.FriendFinder
	CountEdges(ctx context.Context) (int64, error)
}

// AnalyticsStore is what the processors and a rebuild need of the analytics store.
type AnalyticsStore interface {
	processors.RowStore
	processors.TrendSource
	CountInteractions(ctx context.Context) (sinks.Counts, error)
}

// Store is what a process needs of every store beside its contents.
type Store interface {
	io.Closer
	Migrate(ctx context.Context) error
	LogID(ctx context.Context) (string, error)
	SetLogID(ctx context.Context, id string) error
	Ping(ctx context.Context) error
}

// NamedStore is a store with the consumer groups that fill it.
type NamedStore struct {
	Name string
	Store
	Groups []string
}

// OpenEmbedded opens the embedded store, one SQLite file that implements every contract.
func OpenEmbedded(ctx context.Context, dir string) (*Engines, error) {
	s, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, StoreFile)})
	if err != nil {
		return nil, fmt.Errorf("open the embedded store: %w", err)
	}
	return &Engines{Users: s, Items: s, Graph: s, Analytics: s.Analytics(), Stores: []NamedStore{
		{
			"embedded", s,
			processors.Filling(
				processors.StoreUsers, processors.StoreItems, processors.StoreGraph,
				processors.StoreAnalytics,
			),
		},
	}}, nil
}

// OpenReal connects to Qdrant, Neo4j and ClickHouse.
func OpenReal(ctx context.Context, cfg config.Config) (_ *Engines, err error) {
	e := &Engines{}
	defer func() {
		if err != nil {
			_ = e.Close()
		}
	}()
	v, err := OpenQdrant(ctx, cfg)
	if err != nil {
		return nil, ofEngine("qdrant", fmt.Errorf(
			"open Qdrant at %s (set QDRANT_ADDR or --qdrant to the gRPC port): %w", cfg.Qdrant.Addr,
			err,
		))
	}
	e.Users, e.Items = v.Users(), v.Items()
	e.Stores = append(
		e.Stores,
		NamedStore{
			"qdrant users", closing{v.Users(), v.Close}, processors.Filling(processors.StoreUsers),
		},
		NamedStore{"qdrant items", v.Items(), processors.Filling(processors.StoreItems)},
	)
	g, err := OpenNeo4j(ctx, cfg)
	if err != nil {
		return nil, ofEngine("neo4j", fmt.Errorf(
			"open Neo4j at %s (set NEO4J_URI, NEO4J_USERNAME and NEO4J_PASSWORD): %w",
			cfg.Neo4j.URI, err,
		))
	}
	e.Graph = g
	e.Stores = append(e.Stores, NamedStore{"neo4j", g, processors.Filling(processors.StoreGraph)})
	a, err := OpenClickHouse(ctx, cfg)
	if err != nil {
		return nil, ofEngine("clickhouse", fmt.Errorf(
			"open ClickHouse at %s (set CLICKHOUSE_ADDR, CLICKHOUSE_USERNAME and "+
				"CLICKHOUSE_PASSWORD): %w",
			cfg.ClickHouse.Addr, err,
		))
	}
	e.Analytics = a
	e.Stores = append(
		e.Stores, NamedStore{"clickhouse", a, processors.Filling(processors.StoreAnalytics)},
	)
	return e, nil
}

// closing is a view of a store whose Close closes the whole store.
type closing struct {
	Store
	close func() error
}

func (c closing) Close() error { return c.close() }

// OpenQdrant connects to the configured Qdrant.
func OpenQdrant(ctx context.Context, cfg config.Config) (*qdrant.Store, error) {
	c := qdrant.DefaultConfig()
	q := cfg.Qdrant
	c.Addr, c.APIKey = q.Addr, q.APIKey
	c.CollectionPrefix, c.Timeout = q.CollectionPrefix, q.Timeout
	c.TLS, c.CAFile, c.ServerName = q.TLS.Enabled, q.TLS.CAFile, q.TLS.ServerName
	c.Dim, c.ContentDim = cfg.Model.Dim+1, model.DefaultContentDim
	c.Users.Quantise, c.Items.Quantise = q.Quantisation, q.Quantisation
	return qdrant.Open(ctx, c)
}

// OpenNeo4j connects to the configured Neo4j.
func OpenNeo4j(ctx context.Context, cfg config.Config) (*neo4j.Store, error) {
	c := neo4j.DefaultConfig()
	n := cfg.Neo4j
	c.URI, c.Username, c.Password, c.Database = n.URI, n.Username, n.Password, n.Database
	c.CAFile, c.Timeout, c.LabelPrefix = n.CAFile, n.Timeout, n.LabelPrefix
	return neo4j.Open(ctx, c)
}

// OpenClickHouse connects to the configured ClickHouse.
func OpenClickHouse(ctx context.Context, cfg config.Config) (*clickhouse.Store, error) {
	c := clickhouse.DefaultConfig()
	h := cfg.ClickHouse
	c.Addr, c.Database, c.Username, c.Password = h.Addr, h.Database, h.Username, h.Password
	c.TLS, c.CAFile, c.ServerName = h.TLS.Enabled, h.TLS.CAFile, h.TLS.ServerName
	c.InsertTimeout, c.QueryTimeout = h.Timeout, h.Timeout
	c.InteractionDays, c.RecommendationDays = h.InteractionDays, h.RecommendationDays
	c.DeadLetterDays = h.DeadLetterDays
	return clickhouse.Open(ctx, c)
}

// Close closes every store.
func (e *Engines) Close() error {
	var errs []error
	for _, s := range e.Stores {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Migrate creates or upgrades collections, constraints and tables.
func (e *Engines) Migrate(ctx context.Context) error {
	for _, s := range e.Stores {
		if err := s.Migrate(ctx); err != nil {
			return ofEngine(
				storeArgument(s.Name), fmt.Errorf("migrate %s: %w", s.Name, err),
			)
		}
	}
	return nil
}

// adopt makes sure that the stores hold the events of this log and no other. consumed returns how
// many records the groups have committed.
func (e *Engines) adopt(
	ctx context.Context,
	logID string,
	consumed func(groups []string) (int64, error),
) error {
	for _, s := range e.Stores {
		have, err := s.LogID(ctx)
		if err != nil {
			return ofEngine(
				storeArgument(s.Name), fmt.Errorf("read the log id of %s: %w", s.Name, err),
			)
		}
		switch have {
		case logID:
			continue
		case "":
			n, err := consumed(s.Groups)
			if err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("%s is empty but its consumer groups %v have committed %d "+
					"records: was it wiped, was a rebuild interrupted, or was "+
					"max_clock_skew changed? Run "+
					"\"slipstream rebuild --store %s\" to fill it from the log",
					s.Name, s.Groups, n, storeArgument(s.Name))
			}
			if err := s.SetLogID(ctx, logID); err != nil {
				return fmt.Errorf("write the log id to %s: %w", s.Name, err)
			}
		default:
			return fmt.Errorf("%s holds the events of another log (%s, this one is %s): was "+
				"Kafka wiped, or is KAFKA_BROKERS wrong? To keep the contents, connect the store "+
				"to its own log. To replace them, run \"slipstream rebuild --store %s\"",
				s.Name, have, logID, storeArgument(s.Name))
		}
	}
	return nil
}

// disown takes the log id out of every store, so that the next start asks for their rebuild.
func (e *Engines) disown(ctx context.Context) error {
	for _, s := range e.Stores {
		if err := s.SetLogID(ctx, ""); err != nil {
			return fmt.Errorf("take the log id out of %s: %w", s.Name, err)
		}
	}
	return nil
}

func storeArgument(name string) string {
	if name == "qdrant users" || name == "qdrant items" {
		return "qdrant"
	}
	return name
}

// ModelConfig returns the configuration of the model.
func ModelConfig(cfg config.Config) model.Config {
	m := model.Default()
	c := cfg.Model
	m.Dim, m.Negatives, m.Rate, m.Seed, m.MaxSeen = c.Dim, c.Negatives, c.Rate, c.Seed, c.MaxSeen
	m.ContentWeight, m.FriendWeight = c.ContentWeight, c.FriendWeight
	return m
}
