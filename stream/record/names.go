package record

import (
	"strings"
	"time"
)

// PoisonTopic returns the topic of a group's dead letters: <group>.poison.
func PoisonTopic(group string) string { return group + ".poison" }

// ReplayTopic returns the topic to which a group's dead letters are replayed: <group>.replay. The
// group has to read it.
func ReplayTopic(group string) string { return group + ".replay" }

// MisplacedTopic returns the topic to which a group forwards records that stood in a partition that
// their key does not choose: <group>.misplaced. The group itself reads it.
func MisplacedTopic(group string) string { return group + ".misplaced" }

// RetryTopic returns the topic in which records of a group wait for the delay: <group>.retry.30s.
func RetryTopic(group string, delay time.Duration) string {
	s := delay.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return group + ".retry." + s
}

// RetryGroup returns the consumer group that reads a group's retry topics: <group>.retry.
func RetryGroup(group string) string { return group + ".retry" }
