package stream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// TestBrokerRestart: the broker goes away and comes back with its log. Publisher, members and
// followers go on by themselves.
func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, text, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	start := func() *kfake.Cluster {
		cluster, err := kfake.NewCluster(
			kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(dir), kfake.SyncWrites(),
			kfake.GroupMinSessionTimeout(100*time.Millisecond),
		)
		require.NoError(t, err)
		return cluster
	}
	cluster := start()
	e := &engine{conn: openConn(t, cluster.ListenAddrs()...), fake: cluster, name: "t"}
	topic, p := e.topic(t, 2), e.publisher(t)
	cfg := e.ranged(t)
	cfg.SessionTimeout, cfg.RequestTimeout = 3*time.Second, 2*time.Second

	seen := newRangeStore()
	out, stop := e.subscribe(t, cfg, topic)
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for m := range out {
			b := BatchOf(m)
			if b.CheckLease(m.Context()) != nil {
				continue
			}
			if err := seen.apply(b); err != nil {
				t.Error(err)
			}
			m.Ack()
		}
	})
	var mu sync.Mutex
	seenByFollower := 0
	follower := NewFollower(e.conn, topic, testLogger(t), func(*record.Record) error {
		mu.Lock()
		defer mu.Unlock()
		seenByFollower++
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	go func() { followed <- follower.Run(ctx) }()

	emitAll := func(from int) {
		for partition := range 2 {
			records := make([]record.Record, 30)
			for i := range records {
				records[i] = record.Record{
					Topic: topic, Partition: partition,
					Value: fmt.Appendf(nil, "%d/%d", partition, from+i),
				}
			}
			require.NoError(t, p.Emit(t.Context(), records))
		}
	}
	emitAll(0)
	eventually(t, "the first records are seen", func() bool { return seen.total() == 60 })
	cluster.Close()
	emitted := make(chan struct{})
	go func() {
		defer close(emitted)
		emitAll(30) // during the outage: it waits
	}()
	fault.Sleep(t.Context(), 300*time.Millisecond)
	cluster = start()
	defer func() { cluster.Close() }()
	<-emitted
	eventually(
		t, "the others are seen after the restart", func() bool { return seen.total() == 120 },
	)
	eventually(t, "the follower goes on", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seenByFollower >= 120
	})
	for v, n := range seen.count {
		require.Equal(t, 1, n, v)
	}
	cancel()
	require.NoError(t, <-followed)
	stop()
	handlers.Wait()
}

func TestSASL(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{SASLPlain, SASLScramSHA256, SASLScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			cluster, err := kfake.NewCluster(
				kfake.NumBrokers(1), kfake.EnableSASL(),
				kfake.Superuser(mechanism, "ann", "secret"),
			)
			require.NoError(t, err)
			defer cluster.Close()
			cfg := DefaultConfig(cluster.ListenAddrs()...)
			cfg.SASL = SASLConfig{Mechanism: mechanism, Username: "ann", Password: "secret"}
			roundTrip(t, cfg)
			cfg.SASL.Password = "wrong"
			cfg.OpenTimeout = 300 * time.Millisecond
			_, err = Open(t.Context(), cfg)
			require.Equal(t, fault.Transient, fault.ClassOf(err), "no record is to blame")
			require.NotContains(t, err.Error(), "wrong", "no password in errors")
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(cryptorand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.TLS(
			&tls.Config{
				Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
			},
		),
	)
	require.NoError(t, err)
	defer cluster.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(
		t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
	)
	cfg := DefaultConfig(cluster.ListenAddrs()...)
	cfg.TLS = TLSConfig{Enabled: true, CAFile: ca}
	roundTrip(t, cfg)

	cfg.OpenTimeout = 2 * time.Second
	cfg.TLS.CAFile = ""
	_, err = Open(t.Context(), cfg)
	require.ErrorContains(t, err, "certificate")
	cfg.TLS.CAFile = filepath.Join(t.TempDir(), "missing.pem")
	_, err = Open(t.Context(), cfg)
	require.ErrorContains(t, err, "missing.pem")
}

// roundTrip writes and reads a record, as a member of a group: its connections are made elsewhere
// than the others.
func roundTrip(t *testing.T, cfg Config) {
	t.Helper()
	conn, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	defer conn.Close()
	e := &engine{conn: conn, name: "t"}
	topic := e.topic(t, 1)
	p, err := NewPublisher(conn, DefaultPublisherConfig())
	require.NoError(t, err)
	defer p.Close()
	emit(t, p, topic, 0, 0, 1)
	s, err := NewSubscriber(conn, e.group(t))
	require.NoError(t, err)
	defer s.Close()
	out, err := s.Subscribe(t.Context(), topic)
	require.NoError(t, err)
	m := receive(t, out)
	require.Equal(t, []string{"0"}, values(BatchOf(m)))
	m.Ack()
}
