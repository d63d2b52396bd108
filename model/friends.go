package model

// AddFriends adds to a user's query the mean of the friends' queries. Their weight is high for a
// new user and fades with the user's own events: query += f/(f+events) * mean. All have length
// Dim+1; the last number, for the bias, stays as it is. Friends' queries of another length are left
// out.
func AddFriends(cfg Config, query []float32, events uint32, friends [][]float32) {
	used := 0
	for _, q := range friends {
		if len(q) == len(query) && finite(dot(q, q)) {
			used++
		}
	}
	if used == 0 || cfg.FriendWeight <= 0 || len(query) == 0 {
		return
	}
	w := float32(cfg.FriendWeight/(cfg.FriendWeight+float64(events))) / float32(used)
	d := len(query) - 1
	for _, q := range friends {
		if len(q) == len(query) && finite(dot(q, q)) {
			axpy(w, q[:d], query[:d])
		}
	}
}
