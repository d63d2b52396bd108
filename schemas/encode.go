package schemas

import "github.com/slipstream-rec/slipstream/stream/record"

// Message returns the interaction as a record for its topic, keyed by user.
func (x Interaction) Message() record.Record {
	env := Envelope{ID: x.EventID, Source: x.Source, Kind: KindInteraction, Time: x.OccurredAt}
	x.EventID, x.Source = "", ""
	return record.Record{Topic: TopicInteractions, Partition: record.AnyPartition, Key: []byte(x.UserID), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}

// Message returns the friendship as a record for its topic, keyed by the pair, lower id first.
func (f Friendship) Message() record.Record {
	kind := KindFriendshipAdded
	if f.Removed {
		kind = KindFriendshipRemoved
	}
	env := Envelope{ID: f.EventID, Source: f.Source, Kind: kind, Time: f.OccurredAt}
	f.EventID, f.Source, f.Removed = "", "", false
	low, high := f.Pair()
	return record.Record{Topic: TopicFriendships, Partition: record.AnyPartition, Key: []byte(low + "|" + high), Value: encode(f), Headers: env.Headers(ContentTypeJSON)}
}

// Message returns the item's update or withdrawal as a record for its topic, keyed by item.
func (x Item) Message() record.Record {
	kind := KindItemUpdated
	if x.Withdrawn {
		kind = KindItemWithdrawn
	}
	env := Envelope{ID: x.EventID, Source: x.Source, Kind: kind, Time: x.OccurredAt}
	x.EventID, x.Source, x.Withdrawn = "", "", false
	return record.Record{Topic: TopicItems, Partition: record.AnyPartition, Key: []byte(x.ItemID), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}

// Message returns the user's update or erasure as a record for its topic, keyed by user.
func (x User) Message() record.Record {
	kind := KindUserUpdated
	if x.Erased {
		kind = KindUserErased
		x.Attributes = nil
	}
	env := Envelope{ID: x.EventID, Source: x.Source, Kind: kind, Time: x.OccurredAt}
	x.EventID, x.Source, x.Erased = "", "", false
	return record.Record{Topic: TopicUsers, Partition: record.AnyPartition, Key: []byte(x.UserID), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}
