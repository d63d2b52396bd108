package schemas

// Message returns the interaction as a record for its topic, keyed by user.
func (x Interaction) Message() Message {
	env := Envelope{ID: x.EventID, Source: x.Source, Kind: KindInteraction, Time: x.OccurredAt}
	x.EventID, x.Source = "", ""
	return Message{Topic: TopicInteractions, Partition: AnyPartition, Key: []byte(x.UserID), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}

// Message returns the friendship as a record for its topic, keyed by the pair, lower id first.
func (f Friendship) Message() Message {
	kind := KindFriendshipAdded
	if f.Removed {
		kind = KindFriendshipRemoved
	}
	env := Envelope{ID: f.EventID, Source: f.Source, Kind: kind, Time: f.OccurredAt}
	f.EventID, f.Source, f.Removed = "", "", false
	low, high := f.Pair()
	return Message{Topic: TopicFriendships, Partition: AnyPartition, Key: []byte(low + "|" + high), Value: encode(f), Headers: env.Headers(ContentTypeJSON)}
}

// Message returns the item's update or withdrawal as a record for its topic, keyed by item.
func (x Item) Message() Message {
	kind := KindItemUpdated
	if x.Withdrawn {
		kind = KindItemWithdrawn
	}
	env := Envelope{ID: x.EventID, Source: x.Source, Kind: kind, Time: x.OccurredAt}
	x.EventID, x.Source, x.Withdrawn = "", "", false
	return Message{Topic: TopicItems, Partition: AnyPartition, Key: []byte(x.ItemID), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}

// Message returns the user's update or erasure as a record for its topic, keyed by user.
func (x User) Message() Message {
	kind := KindUserUpdated
	if x.Erased {
		kind = KindUserErased
		x.Attributes = nil
	}
	env := Envelope{ID: x.EventID, Source: x.Source, Kind: kind, Time: x.OccurredAt}
	x.EventID, x.Source, x.Erased = "", "", false
	return Message{Topic: TopicUsers, Partition: AnyPartition, Key: []byte(x.UserID), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}
