package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Offsets are inclusive offsets of one partition. The topic's name has no prefix.
type Offsets struct {
	Topic       string
	Partition   int
	First, Last int64
}

// DamagedOffsets returns what SkipDamaged names. Its error says how an entry is written.
func (k Kafka) DamagedOffsets() ([]Offsets, error) {
	out := make([]Offsets, 0, len(k.SkipDamaged))
	for _, text := range k.SkipDamaged {
		o, ok := parseOffsets(text)
		if !ok {
			return nil, fmt.Errorf(
				"%q is not topic/partition:first-last, as in interactions/3:1200-1263", text,
			)
		}
		out = append(out, o)
	}
	return out, nil
}

func parseOffsets(text string) (o Offsets, ok bool) {
	where, which, ok := strings.Cut(strings.TrimSpace(text), ":")
	at := strings.LastIndexByte(where, '/')
	first, last, dash := strings.Cut(which, "-")
	if !ok || !dash || at < 1 {
		return o, false
	}
	var errs [3]error
	o.Topic = where[:at]
	o.Partition, errs[0] = strconv.Atoi(where[at+1:])
	o.First, errs[1] = strconv.ParseInt(first, 10, 64)
	o.Last, errs[2] = strconv.ParseInt(last, 10, 64)
	ok = errs == [3]error{} && o.Partition >= 0 && o.First >= 0 && o.First <= o.Last
	return o, ok
}
