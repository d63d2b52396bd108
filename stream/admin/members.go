package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
)

// Members returns the members of a group, each as client@host, sorted: whoever is working for it,
// or is about to. A group that does not exist has none.
func Members(ctx context.Context, conn *stream.Conn, group string) ([]string, error) {
	var out []string
	// A fresh coordinator is not available for a moment.
	err := retry(ctx, func() error {
		res, err := conn.Client().DescribeGroups(
			ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{conn.FullGroup(group)}},
		)
		if err != nil {
			return wire.Classify(err)
		}
		out = nil
		for _, g := range res.Groups {
			if g.Error != nil && !errors.Is(g.Error, kafka.GroupIdNotFound) {
				return wire.Classify(g.Error)
			}
			for _, m := range g.Members {
				out = append(out, m.ClientID+"@"+strings.TrimPrefix(m.ClientHost, "/"))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("members of group %s: %w", group, err)
	}
	slices.Sort(out)
	return out, nil
}
