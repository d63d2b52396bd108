package app

// Rates returns the counters of the process since its start.
func (a *App) Rates() (Totals, error) {
	t, err := a.metrics.Totals()
	return Totals{Produced: t.Produced, Consumed: t.Consumed, Lag: t.Lag}, err
}

// Totals are the counters of a process since its start, and the lag if it measures that.
type Totals struct {
	Produced int64
	// Consumed and Lag count records by consumer group.
	Consumed map[string]int64
	Lag      map[string]int64
}
