package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

// connectAndRun connects to the log and to the one store, and runs. The other stores may be down.
func (r *rebuild) connectAndRun(ctx context.Context) (err error) {
	if r.Store == "embedded" {
		if err := requireFolder(r.cfg.DataDir); err != nil {
			return err
		}
		bc := embedded.DefaultConfig(filepath.Join(r.cfg.DataDir, app.LogFolder))
		bc.Addr, bc.Log = "127.0.0.1:0", r.Log
		broker, err := embedded.Start(ctx, bc)
		if err != nil {
			return fmt.Errorf(
				"open the log in %s (\"slipstream dev\" must not run): %w", r.cfg.DataDir, err,
			)
		}
		defer func() { _ = broker.Close() }()
		r.cfg.Kafka.Brokers = []string{broker.Addr()}
	}
	if r.kafka, err = app.OpenKafka(ctx, r.cfg); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.kafka.Close()) }()
	// A mistyped prefix or address must not replace a store by an empty one.
	if err := r.kafka.RequireTopics(ctx); err != nil {
		return err
	}
	if r.Store != "embedded" {
		if err := r.kafka.RequireLogTimes(ctx, r.cfg); err != nil {
			return err
		}
	}
	if err := r.kafka.EnsureTopics(ctx, r.cfg); err != nil {
		return err
	}
	if r.Store != "embedded" { // which is made with the configured one
		if err := r.kafka.EstablishSkew(ctx, r.cfg); err != nil {
			return err
		}
	}
	if err := r.kafka.MoveGroups(ctx); err != nil {
		return err
	}
	if err := r.kafka.CheckDim(ctx, r.cfg.Model.Dim); err != nil {
		return err
	}
	if err := r.kafka.NoteForwarding(ctx); err != nil {
		return err
	}
	if r.logID, err = r.kafka.LogID(ctx); err != nil {
		return err
	}
	if r.epoch, err = r.kafka.Epoch(ctx); err != nil {
		return err
	}
	end, err := r.choose(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := r.run(ctx); err != nil {
		return err
	}
	return r.kafka.AdoptSkew(ctx, r.cfg)
}

// requireFolder returns an error unless "slipstream dev" has worked in the folder.
func requireFolder(dir string) error {
	_, err := os.Stat(filepath.Join(dir, app.LogFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Permanentf("no data folder of \"slipstream dev\": %s", dir)
	}
	return err
}

// choose opens the store.
func (r *rebuild) choose(ctx context.Context) (end func() error, err error) {
	switch r.Store {
	case "qdrant":
		live, err := app.OpenQdrant(ctx, r.cfg)
		if err != nil {
			return nil, err
		}
		r.store = &qdrantRebuild{r: r, live: live}
		return live.Close, nil
	case "clickhouse":
		live, err := app.OpenClickHouse(ctx, r.cfg)
		if err != nil {
			return nil, err
		}
		r.store = &clickhouseRebuild{r: r, live: live}
		return live.Close, nil
	case "neo4j":
		live, err := app.OpenNeo4j(ctx, r.cfg)
		if err != nil {
			return nil, err
		}
		r.store = &graphRebuild{r: r, store: live, clear: live.Clear}
		return live.Close, nil
	case "embedded":
		s := &embeddedRebuild{r: r, dir: r.cfg.DataDir}
		r.store = s
		return s.close, nil
	}
	return nil, fmt.Errorf("--store %q: want qdrant, neo4j, clickhouse or embedded", r.Store)
}
