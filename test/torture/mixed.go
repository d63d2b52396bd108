//go:build linux

package torture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/schemas"
)

// MixedConfig says how a run with producers of two kinds is.
type MixedConfig struct {
	// Data is a data set, Client the built test/librdkafka.
	Data, Client string
	// Events is how many interactions of the data set are sent, 0 for all.
	Events int
	// Kills is how often slipstream dev is killed while events come in, LateKills how often while
	// it catches up.
	Kills, LateKills int
	// Timeout bounds sending and catching up, each.
	Timeout time.Duration
}

// Mixed is what a run with producers of two kinds has shown.
type Mixed struct {
	MixedVerdict
	// Sent counts sendings: an event that is sent again counts twice.
	Sent, OverHTTP, Kills int
	Sending, CatchingUp   time.Duration

	evidence evidence
}

// Again compares once more: a test has damaged the store in between.
func (m *Mixed) Again(ctx context.Context) (*MixedVerdict, error) { return m.evidence.compare(ctx) }

// Close closes the store.
func (m *Mixed) Close() { m.evidence.stores.Close() }

func (m *Mixed) String() string {
	return fmt.Sprintf(
		"%d sent in %s, %d of them over HTTP, %d kills; %d on the log, %d repeats, %d ids that "+
			"count twice, %d ahead, %d misplaced; %d users, %d rows, %d lists; caught up in %s",
		m.Sent, m.Sending.Round(time.Second), m.OverHTTP, m.Kills, m.Records, m.Repeats,
		m.Twice, m.Ahead, m.Misplaced, m.Users, m.Rows, m.Lists,
		m.CatchingUp.Round(time.Second),
	)
}

// RunMixed sends a data set to slipstream dev, half of each user's events over HTTP and half by
// librdkafka, kills it on the way, and compares the stores with a replay of the log by the rules.
// The caller closes the result.
func RunMixed(
	ctx context.Context, cfg MixedConfig, paths Paths, diary io.Writer,
) (*Mixed, error) {
	set, err := datasets.Open(ctx, datasets.Config{Path: cfg.Data})
	if err != nil {
		return nil, err
	}
	events, err := mixedEvents(set, cfg.Events)
	if err != nil {
		return nil, err
	}
	h := newHarness(Short(), paths.Dir, diary)
	defer h.close()
	supervised, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	addr, err := h.onEmbedded(paths.Binary)
	if err != nil {
		return nil, err
	}
	dev := h.instances[0]
	dev.env = append(dev.env, fmt.Sprintf("SLIPSTREAM_STREAM_RECENT_IDS=%d", mixedRecentIDs))
	wg.Go(func() { dev.run(supervised) })
	dev.want(true)
	starting, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if err := dev.waitReady(starting); err != nil {
		return nil, err
	}
	if err := h.connect(starting, []string{addr}, []string{addr}); err != nil {
		return nil, err
	}
	m := &mixer{h: h, dev: dev, cfg: cfg, brokers: addr}
	if err := m.sendItems(ctx, slices.Collect(set.Items())); err != nil {
		return nil, err
	}
	out := &Mixed{Sent: len(events)}
	deliveries, err := m.sendAll(ctx, events, out)
	if err != nil {
		return nil, err
	}
	log, err := m.rest(ctx, out)
	if err != nil {
		return nil, err
	}
	stores, err := openEmbedded(ctx, filepath.Join(paths.Dir, "dev"))
	if err != nil {
		return nil, err
	}
	out.evidence = evidence{log, events, deliveries, stores}
	v, err := out.evidence.compare(ctx)
	if err != nil {
		out.Close()
		return nil, err
	}
	out.MixedVerdict = *v
	return out, nil
}

// mixedRecentIDs is the window of recent ids in the run, in offsets of a partition. It is about as
// long as it takes until an event is sent again, so that some repeats are within and some are not.
const mixedRecentIDs = 300

// mixer drives one run.
type mixer struct {
	h       *harness
	dev     *instance
	cfg     MixedConfig
	brokers string
}

// client starts librdkafka as it comes, but idempotent, so that what it sends again after a kill is
// there once.
func (m *mixer) client(ctx context.Context) (*foreignClient, error) {
	return startClient(ctx, m.cfg.Client, m.brokers, m.h.logs,
		"enable.idempotence=true", "message.timeout.ms=0")
}

// sendItems writes the catalog, every second item by the client.
func (m *mixer) sendItems(ctx context.Context, items []schemas.Item) error {
	c, err := m.client(ctx)
	if err != nil {
		return err
	}
	var overHTTP []schemas.Event
	for i := range items {
		if i%2 == 0 {
			overHTTP = append(overHTTP, &items[i])
		} else if err := c.write(foreignRecord{
			Topic: schemas.TopicItems, Key: &items[i].ItemID,
			Value: string(items[i].Record().Value),
		}); err != nil {
			return err
		}
	}
	s := m.h.sender("catalog", 1)
	if err := s.post(ctx, overHTTP); err != nil {
		return fmt.Errorf("send the catalog over HTTP: %w", err)
	}
	if _, err := c.finish(); err != nil {
		return err
	}
	return m.h.awaitIdle(ctx, m.h.direct, time.Minute)
}

// portion is how many events are on their way together.
const portion = 250

// sendAll sends the events in their order, both ways at once, and returns what became of those of
// the client.
func (m *mixer) sendAll(
	ctx context.Context, events []mixedEvent, out *Mixed,
) ([]delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	begin := time.Now()
	c, err := m.client(ctx)
	if err != nil {
		return nil, err
	}
	s := m.h.sender("mixed", 2)
	sent := 0
	for chunk := range slices.Chunk(events, portion) {
		var body bytes.Buffer
		for i := range chunk {
			if chunk[i].viaHTTP {
				body.WriteString(chunk[i].Value)
				body.WriteByte('\n')
				out.OverHTTP++
			} else if err := c.write(chunk[i].foreignRecord); err != nil {
				return nil, err
			}
		}
		posted := make(chan error, 1)
		go func() { posted <- m.post(ctx, s, body.Bytes()) }()
		sent += len(chunk)
		if sent*(m.cfg.Kills+1)/len(events) > out.Kills && out.Kills < m.cfg.Kills {
			m.kill(out)
		}
		if err := <-posted; err != nil {
			return nil, err
		}
		if err := c.await(ctx, 2*portion); err != nil {
			return nil, err
		}
	}
	deliveries, err := c.finish()
	out.Sending = time.Since(begin)
	m.h.note("%d events are sent", sent)
	return deliveries, err
}

// kill is kill -9. The instance is started again by itself.
func (m *mixer) kill(out *Mixed) {
	if _, err := m.dev.signal(syscall.SIGKILL); err == nil {
		out.Kills++
		m.h.note("kill -9, number %d", out.Kills)
	}
}

// post sends lines until they are taken. An answer that names one of them is an error.
func (m *mixer) post(ctx context.Context, s *sender, body []byte) error {
	for {
		status, err := s.request(ctx, http.MethodPost, "/v1/events", "application/x-ndjson", body)
		switch {
		case err == nil && status == http.StatusAccepted:
			return nil
		case err == nil && status < 500 && status != http.StatusTooManyRequests:
			return fmt.Errorf("events over HTTP: answer %d", status)
		}
		if !wait(ctx, 100*time.Millisecond) {
			return fmt.Errorf("events over HTTP: %w, last %d, %w", ctx.Err(), status, err)
		}
	}
}

// rest kills the instance while it catches up, waits until it has, reads the log and stops it.
func (m *mixer) rest(ctx context.Context, out *Mixed) (log theLog, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	begin := time.Now()
	for range m.cfg.LateKills {
		if err := m.dev.waitReady(ctx); err != nil {
			return log, err
		}
		if !wait(ctx, time.Second) {
			return log, ctx.Err()
		}
		m.kill(out)
	}
	if err := m.h.awaitIdle(ctx, m.h.direct, m.cfg.Timeout); err != nil {
		return log, err
	}
	out.CatchingUp = time.Since(begin)
	log, err = m.h.readAll(ctx)
	if err != nil {
		return log, err
	}
	log.recentIDs = mixedRecentIDs
	current := schemas.TopicRecommendationsCurrent
	if log.topics[current], err = readLog(ctx, m.h.direct, current); err != nil {
		return log, err
	}
	m.dev.want(false)
	return log, m.h.stopped(m.dev)
}
