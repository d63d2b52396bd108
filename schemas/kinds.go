package schemas

import "github.com/slipstream-rec/slipstream/stream/record"

// Kind names what happened: <noun>.<past verb>.v<N>. It is the CloudEvents type. An event is never
// edited: a new optional field is fine, anything else is a new version beside the old.
type Kind string

// definitions is the registry of kinds, one line each. Everything that must know the kinds derives
// from it: readers, validators, topics, documents and the tests of formats. The order is that of
// documents and of Topic.Kinds: a plain value is taken for the first kind of its topic.
func definitions() []definition {
	return []definition{
		interactionRecorded(),
		friendshipAdded(),
		friendshipRemoved(),
		itemUpdated(),
		itemWithdrawn(),
		userUpdated(),
		userErased(),
		recommendationServed(),
		profileChanged(),
		recommendationExpired(),
		gradientsSummed(),
		itemVectorUpdated(),
		trendingComputed(),
		userErasureRecorded(),
	}
}

// definition is what this package knows of a kind.
type definition struct {
	kind Kind
	// topics are where records of the kind stand.
	topics []string
	// declares is a topic of the kind's own, nil when Topics lists the kind's topics already.
	declares func(TopicsConfig) Topic
	// read reads a plain value at an entry point, nil for kinds that applications do not write.
	// Such a kind has a JSON Schema, and read accepts the values that the schema accepts.
	read func(value []byte) (Event, error)
	// decode reads a record from the log, nil for the binary kinds, which package model reads. The
	// result is a pointer to the kind's type.
	decode func(r *record.Record) (any, error)
}

// reading makes definition.read of a typed reader.
func reading[T any, P interface {
	*T
	Event
}](read func(value []byte, x P) error) func([]byte) (Event, error) {
	return func(value []byte) (Event, error) {
		x := P(new(T))
		return x, read(value, x)
	}
}

// decoding makes definition.decode of a typed decoder.
func decoding[T any](decode func(*record.Record) (T, error)) func(*record.Record) (any, error) {
	return func(r *record.Record) (any, error) {
		x, err := decode(r)
		return &x, err
	}
}

// WritableKinds lists the kinds that applications write.
func WritableKinds() []Kind { return kindsThat(definition.writable) }

// PublicKinds lists the kinds that have a JSON Schema: those that applications write, then those
// that they read.
func PublicKinds() []Kind {
	return append(WritableKinds(), kindsThat(func(d definition) bool {
		return !d.writable() && hasSchema(d.kind)
	})...)
}

func (d definition) writable() bool { return d.read != nil }

func kindsThat(holds func(definition) bool) []Kind {
	var kinds []Kind
	for _, d := range definitions() {
		if holds(d) {
			kinds = append(kinds, d.kind)
		}
	}
	return kinds
}
