package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"
)

// Members returns the members of a group, each as client@host, sorted: whoever is working for it, or is about to. A group that does not exist has none.
func Members(ctx context.Context, conn *Conn, group string) ([]string, error) {
	var out []string
	// A fresh coordinator is not available for a moment.
	err := retry(ctx, func() error {
		res, err := conn.Client().DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{conn.full(group)}})
		if err != nil {
			return classify(err)
		}
		out = nil
		for _, g := range res.Groups {
			if g.Error != nil && !errors.Is(g.Error, kafka.GroupIdNotFound) {
				return classify(g.Error)
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
