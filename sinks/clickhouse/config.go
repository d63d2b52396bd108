package clickhouse

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
)

// Config says where ClickHouse is and how it is used.
type Config struct {
	// Addr is host:port of the native protocol (9000, with TLS 9440); several are separated by
	// commas and tried in order.
	Addr string
	// Database holds the tables. Migrate creates it when it is absent.
	Database           string
	Username, Password string
	// TLS encrypts the connection. CAFile (PEM) replaces the system's authorities; ServerName
	// replaces the host in the check of the certificate.
	TLS        bool
	CAFile     string
	ServerName string
	// Compression of what is sent: lz4 (default; cheapest), zstd or none.
	Compression string
	// MaxConns bounds the connections; one insert or query holds one.
	MaxConns int
	// DialTimeout bounds connecting, InsertTimeout one insert, QueryTimeout one question,
	// MigrateTimeout a migration, EraseTimeout an erasure. InsertTimeout must stay below the
	// consumer group's session timeout: an insert must not outlive the ownership of its partition.
	DialTimeout, InsertTimeout, QueryTimeout, MigrateTimeout, EraseTimeout time.Duration
	// InteractionDays, RecommendationDays and DeadLetterDays are how long raw rows live, counted
	// from their append time; 0 is forever. The sums are kept. Migrate applies them, also when they
	// change.
	InteractionDays, RecommendationDays, DeadLetterDays int
}

// DefaultConfig returns the defaults: a local server without password, raw interactions for two
// years, lists and dead letters for half a year.
func DefaultConfig() Config {
	return Config{
		Addr: "127.0.0.1:9000", Database: "slipstream", Username: "default", Compression: "lz4",
		MaxConns: 8, DialTimeout: 5 * time.Second, InsertTimeout: 10 * time.Second,
		QueryTimeout: 30 * time.Second, MigrateTimeout: 5 * time.Minute, EraseTimeout: time.Minute,
		InteractionDays: 730, RecommendationDays: 180, DeadLetterDays: 180,
	}
}

// databaseName keeps names free of quoting: they stand in statements that take no parameters.
var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// Validate checks the fields.
func (c Config) Validate() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf("clickhouse: "+format, args...))
		}
	}
	bad(
		strings.TrimSpace(c.Addr) == "",
		"the address is missing: set CLICKHOUSE_ADDR to host:port of the native protocol",
	)
	bad(
		!databaseName.MatchString(c.Database),
		"database %q is no plain name: letters, digits and _, at most 64", c.Database,
	)
	bad(c.compression() == nil, "compression %q is none of lz4, zstd, none", c.Compression)
	bad(c.MaxConns < 1, "max conns is %d, want at least 1", c.MaxConns)
	bad(c.CAFile != "" && !c.TLS, "a CA file is given but TLS is off")
	for name, d := range map[string]time.Duration{
		"dial": c.DialTimeout, "insert": c.InsertTimeout, "query": c.QueryTimeout,
		"migrate": c.MigrateTimeout, "erase": c.EraseTimeout,
	} {
		bad(d <= 0, "%s timeout is %s, want more than 0", name, d)
	}
	for name, n := range map[string]int{
		"interactions": c.InteractionDays, "recommendations": c.RecommendationDays,
		"dead letters": c.DeadLetterDays,
	} {
		bad(n < 0 || n > 36500, "%s are kept %d days, want 0 (forever) to 36500", name, n)
	}
	return errors.Join(errs...)
}

func (c Config) compression() *ch.Compression {
	switch c.Compression {
	case "", "lz4":
		return &ch.Compression{Method: ch.CompressionLZ4}
	case "zstd":
		return &ch.Compression{Method: ch.CompressionZSTD}
	case "none":
		return &ch.Compression{Method: ch.CompressionNone}
	}
	return nil
}

// options turns c into the driver's; database "" logs in without the store's database, which may
// not exist yet.
func (c Config) options(database string) (*ch.Options, error) {
	o := &ch.Options{
		Auth:         ch.Auth{Database: database, Username: c.Username, Password: c.Password},
		Compression:  c.compression(),
		DialTimeout:  c.DialTimeout,
		ReadTimeout:  max(c.InsertTimeout, c.QueryTimeout, c.EraseTimeout),
		MaxOpenConns: c.MaxConns, MaxIdleConns: c.MaxConns,
	}
	for addr := range strings.SplitSeq(c.Addr, ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			o.Addr = append(o.Addr, addr)
		}
	}
	if !c.TLS {
		return o, nil
	}
	o.TLS = &tls.Config{ServerName: c.ServerName, MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA file of clickhouse: %w", err)
		}
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf(
				"the CA file of clickhouse, %s, holds no PEM certificate", c.CAFile,
			)
		}
	}
	return o, nil
}
