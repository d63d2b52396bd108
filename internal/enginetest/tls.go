package enginetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Certificate makes a certificate for 127.0.0.1 and localhost that is its own authority, and writes
// it to a PEM file for clients to trust.
func Certificate(t testing.TB) (cert tls.Certificate, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "slipstream test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(
		caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600,
	); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile
}

// TLSProxy listens on loopback, takes TLS connections (offering protocols by ALPN), and passes
// their bytes to backend in clear: it gives an engine that has no TLS one. It returns its address
// and the PEM file that clients must trust.
func TLSProxy(t testing.TB, backend string, protocols ...string) (addr, caFile string) {
	t.Helper()
	cert, caFile := Certificate(t)
	l, err := tls.Listen(
		"tcp", "127.0.0.1:0",
		&tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
			NextProtos: protocols,
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	keep := func(c net.Conn) { mu.Lock(); defer mu.Unlock(); open[c] = true }
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			// also while the test cleans up
			out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", backend)
			if err != nil {
				_ = in.Close()
				continue
			}
			keep(in)
			keep(out)
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.Close()
				_ = from.Close()
			}
			wg.Go(func() { pass(out, in) })
			wg.Go(func() { pass(in, out) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String(), caFile
}
