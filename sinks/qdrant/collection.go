package qdrant

import (
	"context"
	"strconv"
	"strings"

	pb "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipstream-rec/slipstream/fault"
)

// The names of the vectors in a point.
const (
	vectorLearned = "learned"
	vectorContent = "content"
)

// metaLogID is the key of the log id in a collection's metadata: it lives and dies with the points
// it speaks of.
const metaLogID = "slipstream_log_id"

// layout is what a collection is made of.
type layout struct {
	config  *CollectionConfig
	vectors map[string]*pb.VectorParams
	// indexes are the payload fields with an index.
	indexes map[string]fieldIndex
}

type fieldIndex struct {
	kind   pb.FieldType
	params *pb.PayloadIndexParams
}

// collection is what users and items have in common.
type collection struct {
	s      *Store
	name   string
	layout layout
}

// ref is the name that calls use: the alias, or the collection itself when it is not live.
func (c *collection) ref() string {
	if c.s.version > 0 {
		return c.versioned(c.s.version)
	}
	return c.alias()
}

func (c *collection) alias() string { return c.s.cfg.CollectionPrefix + c.name }

func (c *collection) versioned(v int) string { return c.alias() + "_v" + strconv.Itoa(v) }

// versionOf returns the version in a collection's name, ok false when it is no collection of this
// kind.
func (c *collection) versionOf(name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, c.alias()+"_v")
	if !ok {
		return 0, false
	}
	v, err := strconv.Atoi(rest)
	return v, err == nil && v > 0 && rest == strconv.Itoa(v)
}

func (c *collection) fail(ctx context.Context, what string, err error) error {
	return c.s.fail(ctx, what+" "+c.ref(), err)
}

func (c *collection) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.s.cfg.Timeout)
}

// ordering of writes: with replicas, all of them must apply the conditional upserts of a point in
// the same order.
func (c *collection) ordering() *pb.WriteOrdering {
	if c.s.cfg.Replicas > 1 {
		return &pb.WriteOrdering{Type: pb.WriteOrderingType_Strong}
	}
	return nil
}

// Ping returns nil when Qdrant answers.
func (c *collection) Ping(ctx context.Context) error { return c.s.Ping(ctx) }

// Close does nothing: the Store is closed as a whole.
func (c *collection) Close() error { return nil }

// Migrate creates the collection, its alias and its payload indexes where they are missing, applies
// changed graph settings, and fails when the collection has other vectors than configured.
func (c *collection) Migrate(ctx context.Context) error {
	target, err := c.target(ctx)
	if err != nil {
		return err
	}
	if target == "" {
		v := max(c.s.version, 1)
		target = c.versioned(v)
		if err := c.create(ctx, target); err != nil {
			return err
		}
		if c.s.version == 0 {
			if err := c.point(ctx, target); err != nil {
				return err
			}
		}
	}
	have, err := c.check(ctx, target)
	if err != nil {
		return err
	}
	if err := c.tune(ctx, target, have); err != nil {
		return err
	}
	return c.index(ctx, target, have.GetPayloadSchema())
}

// target returns the collection to work on, or "" when it is to be created.
func (c *collection) target(ctx context.Context) (string, error) {
	ctx, cancel := c.call(ctx)
	defer cancel()
	if c.s.version > 0 {
		r, err := c.s.client().Collections().CollectionExists(
			ctx, &pb.CollectionExistsRequest{CollectionName: c.ref()},
		)
		if err != nil {
			return "", c.fail(ctx, "look for collection", err)
		}
		if r.GetResult().GetExists() {
			return c.ref(), nil
		}
		return "", nil
	}
	r, err := c.s.client().Collections().ListAliases(ctx, &pb.ListAliasesRequest{})
	if err != nil {
		return "", c.fail(ctx, "look for alias", err)
	}
	for _, a := range r.GetAliases() {
		if a.GetAliasName() == c.alias() {
			return a.GetCollectionName(), nil
		}
	}
	return "", nil
}

func (c *collection) create(ctx context.Context, name string) error {
	ctx, cancel := c.call(ctx)
	defer cancel()
	cfg, l := &c.s.cfg, &c.layout
	req := &pb.CreateCollection{
		CollectionName: name,
		VectorsConfig:  pb.NewVectorsConfigMap(l.vectors),
		HnswConfig:     l.config.hnsw(),
		OptimizersConfig: &pb.OptimizersConfigDiff{
			IndexingThreshold: num(l.config.IndexingThreshold),
		},
		OnDiskPayload: pb.PtrOf(l.config.PayloadOnDisk),
	}
	if cfg.Shards > 1 || cfg.Replicas > 1 {
		req.ShardNumber = pb.PtrOf(
			uint32(cfg.Shards),
		) // validated to be small and positive
		req.ReplicationFactor = pb.PtrOf(
			uint32(cfg.Replicas),
		) // validated to be small and positive
	}
	_, err := c.s.client().Collections().Create(ctx, req)
	if status.Code(err) == codes.AlreadyExists {
		return nil // another process migrates too
	}
	return c.fail(ctx, "create", err)
}

// point makes the alias name the collection.
func (c *collection) point(ctx context.Context, target string) error {
	ctx, cancel := c.call(ctx)
	defer cancel()
	_, err := c.s.client().Collections().UpdateAliases(
		ctx,
		&pb.ChangeAliases{Actions: []*pb.AliasOperations{pb.NewAliasCreate(c.alias(), target)}},
	)
	return c.fail(ctx, "set alias", err)
}

// check compares the vectors of the collection with the configured ones.
func (c *collection) check(ctx context.Context, name string) (*pb.CollectionInfo, error) {
	info, err := c.info(ctx, name)
	if err != nil {
		return nil, err
	}
	have := info.GetConfig().GetParams().GetVectorsConfig().GetParamsMap().GetMap()
	for vector, want := range c.layout.vectors {
		got := have[vector]
		if got.GetSize() == want.GetSize() && got.GetDistance() == want.GetDistance() {
			continue
		}
		return nil, fault.Transientf(
			`qdrant collection %s: vector %q has %d dimensions and distance %s, `+
				`configured are %d and %s: `+
				`set the configuration back, or run "slipstream rebuild --store qdrant" to make `+
				`the collection anew from the log`,
			name, vector, got.GetSize(), got.GetDistance(), want.GetSize(), want.GetDistance(),
		)
	}
	return info, nil
}

func (c *collection) info(ctx context.Context, name string) (*pb.CollectionInfo, error) {
	ctx, cancel := c.call(ctx)
	defer cancel()
	r, err := c.s.client().Collections().Get(
		ctx, &pb.GetCollectionInfoRequest{CollectionName: name},
	)
	if err != nil {
		return nil, c.fail(ctx, "describe", err)
	}
	return r.GetResult(), nil
}

// tune applies graph settings that differ; Qdrant then rebuilds its graphs in the background.
func (c *collection) tune(ctx context.Context, name string, have *pb.CollectionInfo) error {
	want := c.layout.config
	hnsw, optimizer := have.GetConfig().GetHnswConfig(), have.GetConfig().GetOptimizerConfig()
	if hnsw.GetM() == *num(want.M) && hnsw.GetEfConstruct() == *num(want.EfConstruct) &&
		hnsw.GetFullScanThreshold() == *num(want.FullScanThreshold) &&
		optimizer.GetIndexingThreshold() == *num(want.IndexingThreshold) {
		return nil
	}
	ctx, cancel := c.call(ctx)
	defer cancel()
	_, err := c.s.client().Collections().Update(ctx, &pb.UpdateCollection{
		CollectionName:   name,
		HnswConfig:       want.hnsw(),
		OptimizersConfig: &pb.OptimizersConfigDiff{IndexingThreshold: num(want.IndexingThreshold)},
	})
	return c.fail(ctx, "tune", err)
}

func (c *CollectionConfig) hnsw() *pb.HnswConfigDiff {
	return &pb.HnswConfigDiff{
		M: num(c.M), EfConstruct: num(c.EfConstruct), FullScanThreshold: num(c.FullScanThreshold),
	}
}

func (c *collection) index(
	ctx context.Context, name string, have map[string]*pb.PayloadSchemaInfo,
) error {
	for field, ix := range c.layout.indexes {
		if have[field] != nil {
			continue
		}
		ctx, cancel := c.call(ctx)
		_, err := c.s.client().Points().CreateFieldIndex(ctx, &pb.CreateFieldIndexCollection{
			CollectionName: name,
			Wait:           pb.PtrOf(true), FieldName: field, FieldType: pb.PtrOf(ix.kind),
			FieldIndexParams: ix.params, Ordering: c.ordering(),
		})
		err = c.fail(ctx, "index "+field+" of", err)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// LogID returns the log id written to the collection, "" when there is none or no collection yet.
func (c *collection) LogID(ctx context.Context) (string, error) {
	ctx, cancel := c.call(ctx)
	defer cancel()
	r, err := c.s.client().Collections().Get(
		ctx, &pb.GetCollectionInfoRequest{CollectionName: c.ref()},
	)
	if status.Code(err) == codes.NotFound {
		return "", nil
	}
	if err != nil {
		return "", c.fail(ctx, "read the log id of", err)
	}
	return r.GetResult().GetConfig().GetMetadata()[metaLogID].GetStringValue(), nil
}

// SetLogID writes the log id to the collection's metadata.
func (c *collection) SetLogID(ctx context.Context, id string) error {
	target, err := c.target(ctx)
	if err != nil {
		return err
	}
	if target == "" {
		target = c.ref() // the engine's answer says that it is missing
	}
	ctx, cancel := c.call(ctx)
	defer cancel()
	_, err = c.s.client().Collections().Update(
		ctx,
		&pb.UpdateCollection{
			CollectionName: target,
			Metadata:       map[string]*pb.Value{metaLogID: pb.NewValueString(id)},
		},
	)
	return c.fail(ctx, "write the log id of", err)
}
