package qdrant

import (
	"context"
	"errors"
	"fmt"
	"strings"

	pb "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipstream-rec/slipstream/fault"
)

// classify gives err, as a call under ctx returned it, its class, and adds what a person can do
// where the engine does not say it.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.As(fault.Canceled, err)
	}
	var busy *pb.QdrantResourceExhaustedError
	if errors.As(err, &busy) {
		return fault.As(fault.Transient, err)
	}
	st, ok := status.FromError(err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			return fault.As(fault.Transient, err)
		}
		return fault.As(fault.Unknown, err)
	}
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.ResourceExhausted:
		return fault.As(fault.Transient, err)
	case codes.Canceled:
		// Our context lives, so the server or the connection gave up: it is restarting.
		return fault.As(fault.Transient, err)
	case codes.NotFound:
		// A collection or alias is gone. No event is to blame: everything waits until someone
		// creates it.
		return fault.As(
			fault.Transient,
			fmt.Errorf(
				`%w (run "slipstream migrate" to create it; if it held data, "slipstream rebuild `+
					`--store qdrant" fills it from the log)`,
				err,
			),
		)
	case codes.Unauthenticated, codes.PermissionDenied:
		return fault.As(fault.Transient, fmt.Errorf("%w (check the qdrant API key)", err))
	case codes.Unimplemented:
		return fault.As(
			fault.Transient,
			fmt.Errorf(
				"%w (the server is too old: conditional upserts need Qdrant 1.16 or later)", err,
			),
		)
	case codes.InvalidArgument:
		// The length of our vectors is checked before they are sent, so the collection is of
		// another make.
		if strings.Contains(st.Message(), "imension") ||
			strings.Contains(st.Message(), "existing vector name") {
			return fault.As(
				fault.Transient,
				fmt.Errorf(
					`%w (the collection has other vectors than the configuration: run `+
						`"slipstream rebuild --store qdrant")`,
					err,
				),
			)
		}
		return fault.As(fault.Permanent, err)
	case codes.OutOfRange, codes.AlreadyExists:
		return fault.As(fault.Permanent, err)
	case codes.Internal:
		// A full disk comes as an internal error; other internal errors may come from the data.
		if m := strings.ToLower(
			st.Message(),
		); strings.Contains(m, "no space left") || strings.Contains(m, "disk") ||
			strings.Contains(m, "timeout") {
			return fault.As(fault.Transient, err)
		}
	}
	return fault.As(fault.Unknown, err)
}
