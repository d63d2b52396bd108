package record

import "strings"

// Renamed holds the names that topics and groups had in an older version, each with the name of
// today. The topics of a group's own, <group>.poison, <group>.replay and <group>.retry.<delay>, and
// its retry group follow from the group. The zero value renames nothing.
type Renamed struct {
	Topics map[string]string `json:"topics"`
	Groups map[string]string `json:"groups"`
}

// IsZero reports whether nothing was renamed.
func (r Renamed) IsZero() bool { return len(r.Topics) == 0 && len(r.Groups) == 0 }

// topic returns the logical name for one that may be an old one.
func (r Renamed) topic(name string) string {
	if now, ok := r.Topics[name]; ok {
		return now
	}
	group, own, ok := strings.Cut(name, ".")
	if now, renamed := r.Groups[group]; ok && renamed {
		return now + "." + own
	}
	return name
}

// group returns the logical name for one that may be an old one.
func (r Renamed) group(name string) string {
	base, own, ok := strings.Cut(name, ".")
	now, renamed := r.Groups[base]
	switch {
	case !renamed:
		return name
	case ok:
		return now + "." + own
	}
	return now
}

// Names returns the names of an installation. prefix begins them all, and topics are those that
// stand on the broker. A topic that is there under its old name, and not under its new one, keeps
// the old one.
func (r Renamed) Names(prefix string, topics []string) Names {
	n := Names{Prefix: prefix, renamed: r, kept: make(map[string]string)}
	there := make(map[string]bool, len(topics))
	for _, t := range topics {
		there[t] = true
	}
	for _, t := range topics {
		old, ours := strings.CutPrefix(t, prefix)
		if !ours {
			continue
		}
		if now := r.topic(old); now != old && !there[prefix+now] {
			n.kept[now] = old
		}
	}
	return n
}

// Names translates between logical names and those on the broker. The zero value is an
// installation without a prefix and without old names. Safe for concurrent use.
type Names struct {
	// Prefix begins every name on the broker.
	Prefix string

	renamed Renamed
	// kept are the topics that keep an old name: by logical name, without the prefix.
	kept map[string]string
}

// Topic returns the name of a topic on the broker.
func (n Names) Topic(name string) string { return n.Prefix + n.StoredTopic(name) }

// LogicalTopic returns the logical name of a topic on the broker. It reverses Topic.
func (n Names) LogicalTopic(onBroker string) string {
	return n.OfStoredTopic(strings.TrimPrefix(onBroker, n.Prefix))
}

// StoredTopic returns the name of a topic in the analytics store: the one on the broker without
// the prefix. Ranges that were stored under an old name are recognised by it.
func (n Names) StoredTopic(name string) string {
	if old, ok := n.kept[name]; ok {
		return old
	}
	return name
}

// OfStoredTopic returns the logical name of a topic in the analytics store. It reverses
// StoredTopic.
func (n Names) OfStoredTopic(stored string) string {
	if now := n.renamed.topic(stored); n.kept[now] == stored && now != stored {
		return now
	}
	return stored
}

// Group returns the name of a group on the broker.
func (n Names) Group(name string) string { return n.Prefix + name }

// LetterGroup returns the name of a group in the headers of its dead letters, on which their ids
// depend. It is that of the topic they stand in: a group that was renamed keeps it there, so that
// a record that fails again is the same dead letter.
func (n Names) LetterGroup(name string) string {
	return strings.TrimSuffix(n.Topic(PoisonTopic(name)), PoisonTopic(""))
}

// TopicOfHeader returns the logical name of a topic in the headers of a dead letter, whichever
// version wrote it.
func (n Names) TopicOfHeader(value string) string {
	return n.renamed.topic(strings.TrimPrefix(value, n.Prefix))
}

// GroupOfHeader returns the logical name of a group in the headers of a dead letter, whichever
// version wrote it.
func (n Names) GroupOfHeader(value string) string {
	return n.renamed.group(strings.TrimPrefix(value, n.Prefix))
}
