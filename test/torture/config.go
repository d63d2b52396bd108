//go:build linux

package torture

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Config says how long and how hard a run is.
type Config struct {
	// Seed chooses load and faults. The same seed gives the same plan; when things happen also
	// depends on the machine.
	Seed uint64
	// Faults is how many faults are injected; Duration ends the injecting earlier.
	Faults   int
	Duration time.Duration
	// Slow is how many kills of Kafka and Neo4j there may be: each takes some 20 s to come back.
	Slow int
	// Brokers is how many brokers Kafka has: 1, or 3 that keep three copies of everything.
	Brokers int
	// Instances of the program run at the same time; Partitions are those of the busy topics.
	Instances, Partitions int
	// Users and Items are the audience and the catalog; Leavers are people who are erased on the
	// way.
	Users, Items, Leavers int
	// Rate is how many interactions are sent a second.
	Rate float64
	// Session is the session timeout of the consumer groups: short, so that take-overs are
	// frequent.
	Session time.Duration
	// CatchUpTimeout bounds the wait for the lag to become 0 at the end.
	CatchUpTimeout time.Duration
	// MaxRecallLoss is how much lower Recall@10 may be than that of the undisturbed run, as a share
	// of it.
	MaxRecallLoss float64
}

// Short returns the configuration of the run that takes a few minutes.
func Short() Config {
	return Config{
		Faults: 15, Duration: 75 * time.Second, Slow: 2, Brokers: 1, Instances: 2, Partitions: 4,
		Users: 80,
		Items: 60, Leavers: 6, Rate: 40,
		// too few people to tell
		Session: 6 * time.Second, CatchUpTimeout: 90 * time.Second, MaxRecallLoss: 0.5,
	}
}

// Long returns the configuration of the run that docs/RELIABILITY.md documents.
func Long() Config {
	return Config{
		Faults: 210, Duration: 30 * time.Minute, Slow: 40, Brokers: 3, Instances: 3, Partitions: 4,
		Users: 300,
		Items: 160, Leavers: 30, Rate: 40,
		Session: 7 * time.Second, CatchUpTimeout: 5 * time.Minute, MaxRecallLoss: 0.02,
	}
}

// FromEnv changes c as the environment says: TORTURE_SEED, TORTURE_FAULTS, TORTURE_DURATION,
// TORTURE_RATE, TORTURE_INSTANCES and TORTURE_BROKERS. Without a seed one is drawn from the clock.
func FromEnv(c Config) (Config, error) {
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	var err error
	read := func(name string, set func(string) error) {
		if v := os.Getenv(name); v != "" && err == nil {
			if e := set(v); e != nil {
				err = fmt.Errorf("%s=%q: %w", name, v, e)
			}
		}
	}
	read(
		"TORTURE_SEED",
		func(v string) (e error) { c.Seed, e = strconv.ParseUint(v, 10, 64); return },
	)
	read("TORTURE_FAULTS", func(v string) (e error) { c.Faults, e = strconv.Atoi(v); return })
	read(
		"TORTURE_DURATION",
		func(v string) (e error) { c.Duration, e = time.ParseDuration(v); return },
	)
	read("TORTURE_RATE", func(v string) (e error) { c.Rate, e = strconv.ParseFloat(v, 64); return })
	read("TORTURE_INSTANCES", func(v string) (e error) { c.Instances, e = strconv.Atoi(v); return })
	read("TORTURE_BROKERS", func(v string) (e error) {
		if c.Brokers, e = strconv.Atoi(v); e == nil && c.Brokers != 1 && c.Brokers != 3 {
			e = errors.New("want 1 or 3")
		}
		return
	})
	return c, err
}
