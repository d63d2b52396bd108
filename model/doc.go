// Package model is the mathematics of Slipstream: learning from events, and scoring and ranking
// items. It has pure functions and values in memory: no I/O, no clock, no goroutines, no imports
// from this repository. The processors learn with the same code that eval measures.
//
// # The model
//
// An item has an output vector V with a bias b, and two input vectors P and T; a user has a vector
// w. With h_0, h_1, … the user's items, latest first,
//
//	score(u, i) = q_u · V_i + b_i
//	q_u         = x + Σ_n B_n max(0, A_n · (x, y) + c_n)
//	x           = w_u + a Σ_k g^k P[h_k] + y
//	y           = c Σ_k s^k T[h_k]
//
// over a long and a short window, the squared weights of each summing to one, and a few hidden
// units (A, B, c) that everybody shares (units.go). A list is one inner-product search:
// Learner.Query gives (q_u, s), Table.Vector gives (V_i, b_i/s), with s = BiasScale.
//
// # The user's side (processors/embed)
//
//	table := model.NewTable(cfg)          // a cache of item factors, one per partition
//	table.LoadRow(id, record)             // from their compacted topic, as they change
//	learner := model.NewLearner(table)
//	sums := model.NewSums(table)
//	for each event of the batch {
//		learner.Gradients(user, model.Event{
//			Item:     table.Intern(itemID),
//			Strength: what the action teaches,
//			Takes:    whether the item is not offered again,
//			At:       unixSeconds,
//			Seed:     a function of the event's position in the log,
//		}, sums)
//	}
//	messages := sums.PackEach(model.Half, partitions, partitionOf) // one per item partition
//	sums.Reset()
//	query := make([]float32, cfg.Dim+1); learner.Query(user, query)
//	stored = user.Append(nil)             // and user.Decode
//
// # The item's side (processors/catalog)
//
//	table := model.NewTable(cfg)          // the item factors this process owns
//	sums := model.NewSums(table)
//	sums.Merge(message)                   // as many as arrive in one tick
//	table.Apply(sums)                     // one Adagrad step per row
//	for _, i := range sums.Rows() {
//		record = table.AppendRow(nil, i)  // to the compacted topic
//		table.Vector(i, point)            // to the index, dim+1 numbers
//	}
//	sums.Reset()
//
// Where one process does both and no lag is wanted (evaluation, a single partition), Learner.Step
// does it at once.
package model
