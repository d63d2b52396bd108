package app

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// embeddedApp returns the whole application on embedded engines in a new folder, ready to run.
func embeddedApp(t *testing.T) *App {
	t.Helper()
	cfg := config.Default()
	cfg.DataDir, cfg.Topics.Partitions, cfg.HTTP.Addr = t.TempDir(), 3, "127.0.0.1:0"
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	bc := embedded.DefaultConfig(filepath.Join(cfg.DataDir, LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", log
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	cfg.Kafka.Brokers = []string{broker.Addr()}
	a, err := Open(t.Context(), cfg, Options{Embedded: true, Version: "test", Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// undecodable puts a record on item-vectors that no version could have written.
func (a *App) undecodable(t *testing.T) {
	t.Helper()
	require.NoError(t, a.kafka.Emit(t.Context(), []record.Record{{
		Topic: schemas.TopicItemVectors, Partition: 0, Key: []byte("alien"), Value: []byte("?"),
	}}))
}

func TestAppEndsWithTheErrorOfAFollower(t *testing.T) {
	t.Parallel()
	for _, later := range []bool{false, true} {
		name := map[bool]string{false: "that fails at the start", true: "that fails later"}[later]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := embeddedApp(t)
			if !later {
				a.undecodable(t)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			if later {
				select {
				case <-a.ready:
				case err := <-done:
					t.Fatalf("the app ended before it was ready: %v", err)
				}
				a.undecodable(t)
			}
			err := <-done
			want := `follow item-vectors: offset 0 of item-vectors/0: item factors of "alien"`
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "\n", "the error stands once, and alone")
			require.NoError(t, ctx.Err(), "it ended by itself")
		})
	}
}

func TestAppThatIsStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	a := embeddedApp(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, a.Run(ctx))
}

// logged is a handler that sends log records to a channel.
type logged struct {
	slog.Handler
	out chan slog.Record
}

func (l logged) Handle(_ context.Context, r slog.Record) error {
	select {
	case l.out <- r:
	default: // the test reads no more
	}
	return nil
}

// A start that waits long logs what it waits for.
func TestStartLogsWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	a := embeddedApp(t)
	for range 3 {
		require.NoError(t, a.kafka.Emit(t.Context(), []record.Record{
			{Topic: schemas.TopicErasures, Partition: 0, Key: []byte("ann"), Value: []byte("{}")},
		}))
	}
	release := make(chan struct{})
	wait := func(*record.Record) error { <-release; return nil }
	slow := a.kafka.Follower(schemas.TopicErasures, a.log, wait)
	quick := a.kafka.Follower(schemas.TopicTrending, a.log, wait)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, f := range []*stream.Follower{slow, quick} {
		running.Go(func() {
			if err := f.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	require.NoError(t, quick.WaitCaughtUp(t.Context()))
	l := logged{slog.NewTextHandler(t.Output(), nil), make(chan slog.Record, 100)}
	done := make(chan error, 1)
	go func() {
		both := []*stream.Follower{quick, slow}
		done <- catchUp(t.Context(), slog.New(l), 10*time.Millisecond, both)
	}()
	// The follower may have to look up the topic first.
	for total := int64(0); total < 3; {
		r := <-l.out
		require.Equal(t, waitingForTopic, r.Message)
		require.Equal(t, slog.LevelWarn, r.Level)
		attrs := map[string]slog.Value{}
		r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value; return true })
		require.Equal(t, schemas.TopicErasures, attrs["topic"].String(), "the other one is read")
		require.Zero(t, attrs["read"].Int64())
		total = attrs["of"].Int64()
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	close(release)
	require.NoError(t, <-done)
	cancel()
	running.Wait()
}
