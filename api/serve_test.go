package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func operateHash() string {
	sum := sha256.Sum256([]byte(operateKey))
	return hex.EncodeToString(sum[:])
}

// serve runs the server until stop is called, which returns what Serve returned.
func serve(t *testing.T, f *fixture) (base string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l, err := f.Listen(ctx)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx, l) }()
	t.Cleanup(cancel)
	return "http://" + l.Addr().String(), func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("the server does not stop")
		}
	}
}

func get(t *testing.T, client *http.Client, url string) (int, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

func TestServedListsAreWrittenToTheLog(t *testing.T) {
	t.Parallel()
	f := setup(t)
	base, stop := serve(t, f)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	status, err := get(t, client, base+"/v1/users/nobody/recommendations")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	<-f.emitter.arrived
	status, err = get(t, client, base+"/v1/trending")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.NoError(t, stop())

	written := f.emitter.messages(schemas.TopicRecommendations)
	require.Len(t, written, 1, "lists for nobody are not for the topic")
	m := written[0]
	list, err := schemas.DecodeRecommendation(
		&record.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers},
	)
	require.NoError(t, err)
	require.Equal(t, "nobody", list.UserID)
	require.Equal(t, "nobody", string(m.Key))
	require.Zero(t, list.Version, "it replaces no other list")
	require.Empty(t, f.emitter.messages(schemas.TopicRecommendationsCurrent))
}

func TestServedListsWaitForTheLog(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.emitter.fail(fault.Transientf("no leader"))
	base, stop := serve(t, f)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for range 5 {
		status, err := get(t, client, base+"/v1/users/nobody/recommendations")
		require.NoError(t, err)
		require.Equal(t, 200, status, "an answer does not wait for the log")
	}
	f.emitter.fail(nil)
	for range 5 {
		<-f.emitter.arrived
	}
	require.NoError(t, stop())
	require.Len(t, f.emitter.messages(schemas.TopicRecommendations), 5)
}

func TestServedListsThatTheLogNeverTakesAreCounted(t *testing.T) {
	t.Parallel()
	lost := 0
	f := setup(t, func(c *config.HTTP, d *api.Deps) {
		c.ShutdownTimeout = 50 * time.Millisecond
		d.Hooks.Unlogged = func(n int) { lost += n }
	})
	f.emitter.fail(fault.Transientf("no leader"))
	base, stop := serve(t, f)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for range 3 {
		_, err := get(t, client, base+"/v1/users/nobody/recommendations")
		require.NoError(t, err)
	}
	require.NoError(t, stop())
	require.Equal(t, 3, lost)
}

// slow holds requests for what is trending until it is released.
type slow struct {
	api.Recommender
	entered, release chan struct{}
}

func (s slow) Trending(context.Context, int, []string, string) (schemas.Recommendation, error) {
	s.entered <- struct{}{}
	<-s.release
	return schemas.Recommendation{}, nil
}

// TestAStartingServerNeverSaysThatItStops: its answers end when the server of the process takes the
// listener, at once, and what asks for readiness then is told that the process is starting.
func TestAStartingServerNeverSaysThatItStops(t *testing.T) {
	t.Parallel()
	cfg := config.Default().HTTP
	cfg.Addr, cfg.DrainDelay = "127.0.0.1:0", 5*time.Second
	s := api.NewStarting(cfg, api.Deps{Log: slog.New(slog.DiscardHandler), Checks: []api.Check{{
		Name: "processors", Required: true,
		Ping: func(context.Context) error { return errors.New("starting") },
	}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := s.Listen(ctx)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	asked, closed := 0, 0
	for ; ; asked++ {
		r, err := http.NewRequestWithContext(
			t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/readyz", nil,
		)
		require.NoError(t, err)
		res, err := client.Do(r)
		if err != nil {
			break // it has given up the listener
		}
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Contains(t, string(body), `"processors":"starting"`)
		if res.Close {
			closed++
		}
		cancel()
	}
	require.Positive(t, asked)
	require.Equal(t, asked, closed, "the next request is for the server that follows")
	require.NoError(t, <-done)
}

func TestStoppingFinishesRunningRequests(t *testing.T) {
	t.Parallel()
	s := slow{entered: make(chan struct{}), release: make(chan struct{})}
	f := setup(t, func(_ *config.HTTP, d *api.Deps) { d.Recommender = s })
	ctx, cancel := context.WithCancel(t.Context())
	l, err := f.Listen(ctx)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	type answer struct {
		status int
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		status, err := get(t, client, "http://"+l.Addr().String()+"/v1/trending")
		answered <- answer{status, err}
	}()
	<-s.entered
	cancel()
	// Nobody new is let in, and whoever asks the handler learns that it stops.
	require.Eventually(
		t,
		func() bool { return f.do(t, "GET", "/readyz", "").Code == 503 }, 5*time.Second,
		time.Millisecond,
	)
	select {
	case err := <-done:
		t.Fatalf("Serve returned %v while a request was running", err)
	default:
	}
	close(s.release)
	got := <-answered
	require.NoError(t, got.err)
	require.Equal(t, 200, got.status)
	require.NoError(t, <-done)
	_, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	require.Error(t, err)
}

// Who sends requests here asks for readiness from time to time, and goes elsewhere when it says no.
// None of the requests may fail until then.
func TestReadinessSaysNoBeforeTheListenerCloses(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *config.HTTP, _ *api.Deps) {
		*c = config.Default().HTTP
		c.Addr = "127.0.0.1:0"
	})
	base, stop := serve(t, f)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	asks := func(path string) int {
		status, err := get(t, client, base+path)
		require.NoError(t, err)
		return status
	}
	require.Equal(t, 200, asks("/readyz"))
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for asks("/readyz") == 200 {
		require.Equal(t, 200, asks("/v1/trending"))
	}
	// It takes others a while to ask, and to act on the answer.
	for range 10 {
		require.Equal(t, 200, asks("/v1/trending"))
	}
	require.NoError(t, <-stopped)
	_, err := get(t, client, base+"/v1/trending")
	require.Error(t, err, "the listener is closed")
}

// A connection that is idle when the listener closes may carry a request at that moment.
func TestAStoppingServerAsksForOtherConnections(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *config.HTTP, _ *api.Deps) {
		*c = config.Default().HTTP
		c.Addr = "127.0.0.1:0"
	})
	base, stop := serve(t, f)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	closes := func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/trending", nil)
		require.NoError(t, err)
		res, err := client.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.Close
	}
	require.False(t, closes())
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Eventually(t, closes, 4*time.Second, time.Millisecond)
	require.NoError(t, <-stopped)
}

func TestStoppingCutsOffWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	s := slow{entered: make(chan struct{}), release: make(chan struct{})}
	f := setup(t, func(c *config.HTTP, d *api.Deps) {
		d.Recommender, c.ShutdownTimeout = s, 20*time.Millisecond
	})
	base, stop := serve(t, f)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answered := make(chan error, 1)
	go func() {
		_, err := get(t, client, base+"/v1/trending")
		answered <- err
	}()
	<-s.entered
	require.NoError(t, stop())
	require.Error(t, <-answered)
	close(s.release)
	require.Contains(t, f.logs.String(), "http.shutdown_timeout")
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	cert, key, pool := certificate(t)
	f := setup(t, func(c *config.HTTP, _ *api.Deps) { c.CertFile, c.KeyFile = cert, key })
	base, stop := serve(t, f)
	client := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		},
	}
	defer client.CloseIdleConnections()
	status, err := get(t, client, "https"+base[len("http"):]+"/healthz")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	old := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11},
		},
	} // it must be refused
	defer old.CloseIdleConnections()
	_, err = get(t, old, "https"+base[len("http"):]+"/healthz")
	require.Error(t, err, "nothing older than TLS 1.2")
	require.NoError(t, stop())
}

func TestListenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	f := setup(t, func(c *config.HTTP, _ *api.Deps) { c.Addr = l.Addr().String() })
	_, err = f.Listen(t.Context())
	require.ErrorContains(t, err, "--http")
}

// certificate makes one for 127.0.0.1.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(certFile, certPEM, 0o600))
	require.NoError(
		t,
		os.WriteFile(
			keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600,
		),
	)
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}
