package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
)

const (
	// movingMark replaces intentMark at the beginning of the metadata of a commit that is being
	// moved. It is as long, so that every intent still fits into a commit.
	movingMark = "mv:"
	intentMark = "v1:"
	// movedMark begins the metadata of a commit that was moved.
	movedMark = "moved to group "
	// movedOffset is past the end of every log: a member that does not look at the metadata stops
	// too.
	movedOffset = 1 << 62
)

// MoveGroup gives the commits of a group that was renamed to the group of the new name, with their
// metadata, and makes those of the old name unusable: whoever still works under it stops at each
// partition. topics are what the group reads. It does nothing when the old group has no commits, or
// when they were moved before. While either group has members it is a transient error.
//
// It may be interrupted at any point and called again. The commits of the old name are marked
// before they are copied, so that nobody goes on from a commit that was copied. What is marked is
// copied to partitions where the new group has no commit yet. In the end nothing is left to copy.
func MoveGroup(ctx context.Context, conn *stream.Conn, from, to string, topics []string) error {
	if err := moveGroup(ctx, conn, from, to, topics); err != nil {
		return fmt.Errorf("move the offsets of group %s to %s: %w", from, to, err)
	}
	return nil
}

func moveGroup(ctx context.Context, conn *stream.Conn, from, to string, topics []string) error {
	old, err := commitsOf(ctx, conn, from)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(old, func(c commit) bool { return !c.isMoved() }) {
		return nil
	}
	if err := markMoving(ctx, conn, from, to, old); err != nil {
		return err
	}
	if err := copyCommits(ctx, conn, to, old); err != nil {
		return err
	}
	return markMoved(ctx, conn, from, to, old, topics)
}

// commit is what a group has committed on one partition. The topic is the name on the broker.
type commit struct {
	topic     string
	partition int
	offset    int64
	metadata  string
}

func (c *commit) isMoved() bool { return strings.HasPrefix(c.metadata, movedMark) }

// moving returns the commit with the mark. Metadata that is no intent stays as it is: nobody starts
// from it anyway.
func (c commit) moving() commit {
	if c.metadata == "" || strings.HasPrefix(c.metadata, intentMark) {
		c.metadata = movingMark + strings.TrimPrefix(c.metadata, intentMark)
	}
	return c
}

// original returns the commit as it was before it was marked.
func (c commit) original() commit {
	if rest, marked := strings.CutPrefix(c.metadata, movingMark); marked {
		c.metadata = ""
		if rest != "" {
			c.metadata = intentMark + rest
		}
	}
	return c
}

// markMoving marks the commits that are not marked yet. The broker refuses it while the group has
// members.
func markMoving(ctx context.Context, conn *stream.Conn, from, to string, old []commit) error {
	members, err := Members(ctx, conn, from)
	if err != nil {
		return err
	}
	if len(members) > 0 {
		return stillRunning(from, to, members)
	}
	var marked []commit
	for _, c := range old {
		if m := c.moving(); !c.isMoved() && m != c {
			marked = append(marked, m)
		}
	}
	err = commitAll(ctx, conn, from, marked)
	if errors.Is(err, ErrGroupActive) {
		return stillRunning(from, to, nil)
	}
	return err
}

func stillRunning(from, to string, members []string) error {
	who := ""
	if len(members) > 0 {
		who = " (" + strings.Join(slices.Compact(members), ", ") + ")"
	}
	return fault.Transientf("processors of the version before are running as group %s%s, which "+
		"is now "+
		"called %s: stop them, then this version goes on from their offsets", from, who, to)
}

// copyCommits gives the new group what it has no commit for, in one request.
func copyCommits(ctx context.Context, conn *stream.Conn, to string, old []commit) error {
	known, err := commitsOf(ctx, conn, to)
	if err != nil {
		return err
	}
	type place struct {
		topic     string
		partition int
	}
	has := make(map[place]bool, len(known))
	for _, c := range known {
		has[place{c.topic, c.partition}] = true
	}
	var missing []commit
	for _, c := range old {
		if !c.isMoved() && !has[place{c.topic, c.partition}] {
			missing = append(missing, c.original())
		}
	}
	err = commitAll(ctx, conn, to, missing)
	if errors.Is(err, ErrGroupActive) {
		return fault.As(fault.Transient, fmt.Errorf("group %s: %w", to, err))
	}
	return err
}

// markMoved makes the old group unusable on every partition that it has committed or would read.
func markMoved(
	ctx context.Context, conn *stream.Conn, from, to string, old []commit, topics []string,
) error {
	metadata := movedMark + to
	var marked []commit
	seen := make(map[string]bool)
	for _, topic := range topics {
		n, err := conn.Partitions(ctx, topic)
		if errors.Is(err, kafka.UnknownTopicOrPartition) {
			continue
		}
		if err != nil {
			return err
		}
		full := conn.Full(topic)
		seen[full] = true
		for p := range n {
			marked = append(marked, commit{full, p, movedOffset, metadata})
		}
	}
	for _, c := range old {
		if !seen[c.topic] {
			marked = append(marked, commit{c.topic, c.partition, movedOffset, metadata})
		}
	}
	err := commitAll(ctx, conn, from, marked)
	if errors.Is(err, ErrGroupActive) {
		return stillRunning(from, to, nil)
	}
	return err
}

// commitsOf returns everything that a group has committed on topics that exist.
func commitsOf(ctx context.Context, conn *stream.Conn, group string) ([]commit, error) {
	var out []commit
	err := retry(ctx, func() error { // a fresh coordinator is not available for a moment
		req := &kafka.OffsetFetchRequest{GroupID: conn.FullGroup(group)}
		res, err := conn.Client().OffsetFetch(ctx, req)
		if err == nil {
			err = res.Error
		}
		if errors.Is(err, kafka.GroupIdNotFound) { // kfake's answer for a group without commits
			return nil
		}
		if err != nil {
			return wire.Classify(err)
		}
		out = nil
		for topic, parts := range res.Topics {
			for _, p := range parts {
				switch {
				case errors.Is(p.Error, kafka.UnknownTopicOrPartition):
				case p.Error != nil:
					return wire.Classify(p.Error)
				case p.CommittedOffset >= 0:
					out = append(out, commit{topic, p.Partition, p.CommittedOffset, p.Metadata})
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the offsets of group %s: %w", group, err)
	}
	return out, nil
}

// commitAll commits for a group without members, in one request. With members it is ErrGroupActive.
func commitAll(ctx context.Context, conn *stream.Conn, group string, commits []commit) error {
	if len(commits) == 0 {
		return nil
	}
	req := &kafka.OffsetCommitRequest{
		GroupID: conn.FullGroup(group), GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{},
	}
	for _, c := range commits {
		req.Topics[c.topic] = append(req.Topics[c.topic], kafka.OffsetCommit{
			Partition: c.partition, Offset: c.offset, Metadata: c.metadata,
		})
	}
	err := retry(ctx, func() error {
		res, err := conn.Client().OffsetCommit(ctx, req)
		if err != nil {
			return wire.Classify(err)
		}
		for _, parts := range res.Topics {
			for _, p := range parts {
				if p.Error != nil {
					return wire.Classify(p.Error)
				}
			}
		}
		return nil
	})
	if wire.Fenced(err) {
		return ErrGroupActive
	}
	if err != nil {
		return fmt.Errorf("commit %d offsets of group %s: %w", len(commits), group, err)
	}
	return nil
}
