package neo4j

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Config says where Neo4j is. docs/guides/neo4j.md gives the reasons for the defaults.
type Config struct {
	// URI names the server: bolt://host:7687 for a single one, neo4j://host:7687 for a cluster;
	// with +s the connection is encrypted and the certificate checked (bolt+s://…), with +ssc any
	// certificate is trusted. Required.
	URI string
	// Username and Password; both empty for a server without authentication.
	Username, Password string
	// CAFile is a PEM file with the authorities to trust in place of the system's; for +s URIs.
	CAFile string
	// Database is the database in use; "" means the user's home database.
	Database string
	// LabelPrefix stands before every label, relationship type and constraint, so that several
	// installations can share a database.
	LabelPrefix string
	// MaxConnections bounds the pool. Default 16.
	MaxConnections int
	// Timeout bounds each transaction, also at the server. Default 10 s. EachEdge is not bound by
	// it.
	Timeout time.Duration
	// ConnectTimeout bounds how long a connection takes to be made, or to come free in the pool.
	// Default 5 s.
	ConnectTimeout time.Duration
	// RetryTime is how long a transaction that met a deadlock, an election or a broken connection
	// is retried here before the caller gets the error. Default 3 s.
	RetryTime time.Duration
	// WriteBatch is how many edges one transaction carries at most: larger batches are split.
	// Default 2000.
	WriteBatch int
}

// DefaultConfig returns the defaults; URI, Username and Password are left to the caller.
func DefaultConfig() Config {
	return Config{
		MaxConnections: 16, Timeout: 10 * time.Second, ConnectTimeout: 5 * time.Second,
		RetryTime: 3 * time.Second, WriteBatch: 2000,
	}
}

var prefixPattern = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_]{0,60})?$`)

// Validate returns an error that names the first setting that cannot work.
func (c *Config) Validate() error {
	if c.URI == "" {
		return errors.New("neo4j URI is missing: set it to bolt://host:7687 or neo4j://host:7687")
	}
	u, err := url.Parse(c.URI)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("neo4j URI %q: want bolt://host:7687 or neo4j://host:7687", c.URI)
	}
	if u.User != nil {
		return errors.New(
			"neo4j URI holds a user name: set the username and the password beside it",
		)
	}
	switch u.Scheme {
	case "bolt", "neo4j", "bolt+ssc", "neo4j+ssc":
		if c.CAFile != "" {
			return fmt.Errorf(
				"neo4j CA file is set but %s:// does not check certificates: use %s+s://",
				u.Scheme, strings.TrimSuffix(u.Scheme, "+ssc"),
			)
		}
	case "bolt+s", "neo4j+s":
	default:
		return fmt.Errorf(
			"neo4j URI %q: the scheme is none of bolt, bolt+s, bolt+ssc, neo4j, neo4j+s, neo4j+ssc",
			c.URI,
		)
	}
	switch {
	case c.Password != "" && c.Username == "":
		return errors.New("neo4j password is set but the username is not")
	case !prefixPattern.MatchString(c.LabelPrefix):
		return fmt.Errorf(
			"neo4j label prefix %q: want a letter followed by at most 60 letters, digits and "+
				"underscores",
			c.LabelPrefix,
		)
	case c.MaxConnections < 1:
		return fmt.Errorf("neo4j max connections %d is below 1", c.MaxConnections)
	case c.Timeout <= 0 || c.ConnectTimeout <= 0:
		return fmt.Errorf("neo4j timeouts %s and %s must be positive", c.Timeout, c.ConnectTimeout)
	case c.RetryTime < 0:
		return fmt.Errorf("neo4j retry time %s is negative", c.RetryTime)
	case c.WriteBatch < 1 || c.WriteBatch > 100_000:
		return fmt.Errorf("neo4j write batch %d is not between 1 and 100000", c.WriteBatch)
	}
	return nil
}

func (c *Config) tlsConfig() (*tls.Config, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read neo4j CA file: %w", err)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("neo4j CA file %s holds no certificate in PEM form", c.CAFile)
	}
	return t, nil
}
