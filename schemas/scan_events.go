package schemas

// readInteraction reads an interaction from a plain value.
func readInteraction(value []byte, x *Interaction) error {
	s := scan(value)
	for s.next() {
		switch string(s.key) {
		case "event_id":
			s.text(&x.EventID)
		case "source":
			s.text(&x.Source)
		case "user_id":
			s.text(&x.UserID)
		case "item_id":
			s.text(&x.ItemID)
		case "action":
			s.action(&x.Action)
		case "value":
			s.number(&x.Value)
		case "occurred_at":
			s.time(&x.OccurredAt)
		case "session_id":
			s.text(&x.SessionID)
		case "recommendation_id":
			s.text(&x.RecommendationID)
		case "context":
			s.texts(&x.Context)
		default:
			s.skip()
		}
	}
	return s.err
}

// readFriendship reads a friendship from a plain value.
func readFriendship(value []byte, x *Friendship) error {
	s := scan(value)
	for s.next() {
		switch string(s.key) {
		case "event_id":
			s.text(&x.EventID)
		case "source":
			s.text(&x.Source)
		case "user_id":
			s.text(&x.UserID)
		case "friend_id":
			s.text(&x.FriendID)
		case "removed":
			s.flag(&x.Removed)
		case "occurred_at":
			s.time(&x.OccurredAt)
		default:
			s.skip()
		}
	}
	return s.err
}

// readItem reads an item from a plain value.
func readItem(value []byte, x *Item) error {
	s := scan(value)
	for s.next() {
		switch string(s.key) {
		case "event_id":
			s.text(&x.EventID)
		case "source":
			s.text(&x.Source)
		case "item_id":
			s.text(&x.ItemID)
		case "title":
			s.text(&x.Title)
		case "genres":
			s.list(&x.Genres)
		case "actors":
			s.list(&x.Actors)
		case "directors":
			s.list(&x.Directors)
		case "tags":
			s.list(&x.Tags)
		case "description":
			s.text(&x.Description)
		case "published_at":
			s.time(&x.PublishedAt)
		case "available":
			s.optionalFlag(&x.Available)
		case "attributes":
			s.object(&x.Attributes)
		case "withdrawn":
			s.flag(&x.Withdrawn)
		case "occurred_at":
			s.time(&x.OccurredAt)
		default:
			s.skip()
		}
	}
	return s.err
}

// readUser reads a user from a plain value.
func readUser(value []byte, x *User) error {
	s := scan(value)
	for s.next() {
		switch string(s.key) {
		case "event_id":
			s.text(&x.EventID)
		case "source":
			s.text(&x.Source)
		case "user_id":
			s.text(&x.UserID)
		case "attributes":
			s.object(&x.Attributes)
		case "erased":
			s.flag(&x.Erased)
		case "occurred_at":
			s.time(&x.OccurredAt)
		default:
			s.skip()
		}
	}
	return s.err
}
