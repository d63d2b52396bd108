package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// dimKey is the key of model.dim in the meta topic.
const dimKey = "model_dim"

func (k *Kafka) meta() admin.Meta {
	return admin.Meta{Conn: k.conn, Emitter: k.pub, Topic: schemas.TopicMeta}
}

// CheckDim returns a permanent error, a *model.DimError, when the data of this log has vectors of
// another length than dim: every start calls it, since a process that learns nothing would compare
// vectors of two lengths. The length stands in the meta topic. A log of an older version does not
// have it there: then the item factors say it. Without any, every length fits.
func (k *Kafka) CheckDim(ctx context.Context, dim int) error {
	have, err := k.dim(ctx)
	if err == nil && have != 0 && have != dim {
		err = fault.As(fault.Permanent, &model.DimError{Data: have, Configured: dim})
	}
	return err
}

// keepDim writes dim into the meta topic where there is none. When another process was faster with
// another length, that is a permanent error.
func (k *Kafka) keepDim(ctx context.Context, dim int) error {
	if _, err := k.meta().Establish(ctx, dimKey, strconv.Itoa(dim)); err != nil {
		return err
	}
	return k.CheckDim(ctx, dim)
}

// dim returns the length of the vectors in the data of this log, 0 when nothing says it.
func (k *Kafka) dim(ctx context.Context) (int, error) {
	kept, err := k.meta().Fact(ctx, dimKey)
	if err != nil {
		return 0, err
	}
	if kept == "" {
		return k.dimOfFactors(ctx)
	}
	dim, err := strconv.Atoi(kept)
	if err != nil || dim < 1 {
		return 0, fault.Permanentf(
			"topic %s: %s is %q: want a positive number", schemas.TopicMeta, dimKey, kept,
		)
	}
	return dim, nil
}

// dimOfFactors returns the length of the vectors of the first item factors on the log, 0 without
// any.
func (k *Kafka) dimOfFactors(ctx context.Context) (int, error) {
	partitions, err := k.conn.Partitions(ctx, schemas.TopicItemVectors)
	if err != nil {
		return 0, fmt.Errorf("read the length of the item factors: %w", err)
	}
	found := errors.New("found")
	for p := range partitions {
		var dim int
		err := k.Read(ctx, schemas.TopicItemVectors, p, 0, -1, func(r *record.Record) error {
			if len(r.Value) == 0 {
				return nil
			}
			var err error
			if dim, err = processors.FactorsDim(r.Value); err != nil {
				return nil //nolint:nilerr // the follower of the topic names it
			}
			return found
		})
		if err != nil && !errors.Is(err, found) {
			return 0, err
		}
		if dim != 0 {
			return dim, nil
		}
	}
	return 0, nil
}
