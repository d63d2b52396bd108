package app

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
)

// A stop while the log and a store are away took the limits of both, one after the other.
func TestAStopHasOneLimit(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Stream.StopTimeout, c.HTTP.ShutdownTimeout = 10*time.Second, 20*time.Second
	c.HTTP.DrainDelay = 0
	a := &App{cfg: c}
	ago := func(d time.Duration) *time.Time {
		began := time.Now().Add(-d)
		return &began
	}
	require.Equal(t, 10*time.Second, a.timeToEnd(nil), "it stops by itself")
	require.Equal(t, 10*time.Second, a.timeToEnd(ago(3*time.Second)))
	require.InDelta(t, 5*time.Second, a.timeToEnd(ago(15*time.Second)), float64(time.Second))
	require.Equal(t, time.Second, a.timeToEnd(ago(time.Minute)), "an engine that is there is told")
	a.cfg.HTTP.DrainDelay = 5 * time.Second
	require.InDelta(t, 8*time.Second, a.timeToEnd(ago(17*time.Second)), float64(time.Second))
}
