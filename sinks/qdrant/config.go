package qdrant

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"time"
)

// Config says where Qdrant is and how its collections are laid out. docs/guides/qdrant.md gives the
// reasons for the defaults.
type Config struct {
	// Addr is host:port of the gRPC listener (6334 by default), not of the REST one. Required.
	Addr string
	// APIKey is sent with each call; "" sends none. Without TLS it travels in clear text.
	APIKey string
	// TLS encrypts the connection; CAFile is a PEM file with the authorities to trust in place of
	// the system's; ServerName overrides the name expected in the server's certificate.
	TLS        bool
	CAFile     string
	ServerName string
	// CollectionPrefix stands before every collection and alias, so that several installations can
	// share a server.
	CollectionPrefix string
	// Dim is the length of learned vectors: the model's d plus one for the bias. Default 65.
	Dim int
	// ContentDim is the length of content vectors. Default 64.
	ContentDim int
	// Connections is how many gRPC connections calls are spread over. Default 2.
	Connections int
	// Timeout bounds each write and each read by id; SearchTimeout each search. Defaults 10 s and 5
	// s.
	Timeout, SearchTimeout time.Duration
	// WriteBatch is how many points one call carries at most: larger batches are split. Default
	// 256.
	WriteBatch int
	// Users and Items lay out the two collections.
	Users, Items CollectionConfig
	// Shards and Replicas of each collection, for a Qdrant cluster. Default 1 and 1. Set when a
	// collection is created, not changed later.
	Shards, Replicas int
}

// CollectionConfig lays out one collection. Ef and Oversampling take effect at once. Migrate
// applies M, EfConstruct and the thresholds to a collection that exists. Everything else takes
// effect when a collection is created: rebuild makes a new one.
type CollectionConfig struct {
	// M is the number of links of a point in the HNSW graph: more is more exact, larger and slower
	// to build. Default 16.
	M int
	// EfConstruct is the width of the search that places a point in the graph. Default 128.
	EfConstruct int
	// Ef is the width of a search. Default 128; a search for more than Ef points is at least as
	// wide as the points wanted.
	Ef int
	// IndexingThreshold is the size in KiB of the vectors of a segment from which on the graph is
	// built; below, a search compares with every vector, which is exact. Default 20,000: about
	// 74,000 vectors of 65 numbers.
	IndexingThreshold int
	// FullScanThreshold is the size in KiB of the vectors left by a filter up to which they are
	// compared one by one, exactly, even where there is a graph. Default 20,000.
	FullScanThreshold int
	// NormBound is the length that vectors are lengthened to by four more numbers, so that the
	// graph, which is good at distances, finds the highest inner products too. Longer vectors are
	// found less well. Default 10.
	NormBound float64
	// Quantise keeps an int8 copy of each learned vector in memory and searches it, and leaves the
	// exact vectors to the page cache: a quarter of the memory. The best are scored again with the
	// exact vectors.
	Quantise bool
	// Oversampling is the number of int8 candidates per result that are scored again exactly, at
	// least 1. Default 3.
	Oversampling float64
	// VectorsOnDisk leaves the exact vectors to the page cache, PayloadOnDisk the payload.
	VectorsOnDisk, PayloadOnDisk bool
}

// DefaultConfig returns the defaults; Addr is left to the caller.
func DefaultConfig() Config {
	items := CollectionConfig{
		M: 16, EfConstruct: 128, Ef: 128, IndexingThreshold: 20_000, FullScanThreshold: 20_000,
		NormBound: 10, Oversampling: 3,
	}
	users := items
	// A user's payload (history, seen set) is kilobytes, is read by id only, and there are many
	// users.
	users.PayloadOnDisk = true
	return Config{
		Dim: 65, ContentDim: 64, Connections: 2, Timeout: 10 * time.Second,
		SearchTimeout: 5 * time.Second, WriteBatch: 256, Users: users, Items: items, Shards: 1,
		Replicas: 1,
	}
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{0,100}$`)

// Validate returns an error that names the first setting that cannot work.
func (c *Config) Validate() error {
	switch {
	case c.Addr == "":
		return errors.New(
			"qdrant address is missing: set it to host:port of the gRPC listener, for instance " +
				"localhost:6334",
		)
	case !namePattern.MatchString(c.CollectionPrefix):
		return fmt.Errorf(
			"qdrant collection prefix %q: want at most 100 letters, digits, dots, dashes and "+
				"underscores",
			c.CollectionPrefix,
		)
	case c.Dim < 1 || c.Dim > 65536:
		return fmt.Errorf("qdrant dim %d is not between 1 and 65536", c.Dim)
	case c.ContentDim < 1 || c.ContentDim > 65536:
		return fmt.Errorf("qdrant content dim %d is not between 1 and 65536", c.ContentDim)
	case c.Connections < 1 || c.Connections > 64:
		return fmt.Errorf("qdrant connections %d is not between 1 and 64", c.Connections)
	case c.Timeout <= 0 || c.SearchTimeout <= 0:
		return fmt.Errorf("qdrant timeouts %s and %s must be positive", c.Timeout, c.SearchTimeout)
	case c.WriteBatch < 1 || c.WriteBatch > 10_000:
		return fmt.Errorf("qdrant write batch %d is not between 1 and 10000", c.WriteBatch)
	case c.Shards < 1 || c.Replicas < 1:
		return fmt.Errorf(
			"qdrant shards %d and replicas %d must be at least 1", c.Shards, c.Replicas,
		)
	case c.CAFile != "" && !c.TLS:
		return errors.New("qdrant CA file is set but TLS is off: turn TLS on")
	}
	if _, _, err := c.hostPort(); err != nil {
		return err
	}
	if err := c.Users.validate("users"); err != nil {
		return err
	}
	return c.Items.validate("items")
}

func (c *CollectionConfig) validate(name string) error {
	switch {
	case c.M < 4 || c.M > 256:
		return fmt.Errorf("qdrant %s: m %d is not between 4 and 256", name, c.M)
	case c.EfConstruct < 4 || c.EfConstruct > 10_000:
		return fmt.Errorf(
			"qdrant %s: ef construct %d is not between 4 and 10000", name, c.EfConstruct,
		)
	case c.Ef < 1 || c.Ef > 10_000:
		return fmt.Errorf("qdrant %s: ef %d is not between 1 and 10000", name, c.Ef)
	case c.IndexingThreshold < 1:
		return fmt.Errorf(
			"qdrant %s: indexing threshold %d KiB is below 1", name, c.IndexingThreshold,
		)
	case c.FullScanThreshold < 10:
		return fmt.Errorf(
			"qdrant %s: full scan threshold %d KiB is below 10", name, c.FullScanThreshold,
		)
	case c.NormBound <= 0 || c.NormBound > 1e6:
		return fmt.Errorf("qdrant %s: norm bound %v is not between 0 and 1e6", name, c.NormBound)
	case c.Oversampling < 1 || c.Oversampling > 100:
		return fmt.Errorf(
			"qdrant %s: oversampling %v is not between 1 and 100", name, c.Oversampling,
		)
	}
	return nil
}

func (c *Config) hostPort() (string, int, error) {
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return "", 0, fmt.Errorf(
			"qdrant address %q: want host:port, for instance localhost:6334", c.Addr,
		)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 {
		return "", 0, fmt.Errorf(
			"qdrant address %q: the port is not a number between 1 and 65535", c.Addr,
		)
	}
	return host, n, nil
}

func (c *Config) tlsConfig() (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read qdrant CA file: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("qdrant CA file %s holds no certificate in PEM form", c.CAFile)
	}
	return t, nil
}
