package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// Validate returns an error that names every setting that cannot be used and says what to do, or
// nil.
func (c Config) Validate() error {
	var p problems
	c.Log.validate(&p)
	c.Kafka.validate(&p)
	c.Topics.validate(&p)
	c.Stream.validate(&p)
	c.Guard.validate(&p)
	c.validateStores(&p)
	c.HTTP.validate(&p)
	c.Model.validate(&p)
	c.Recommend.validate(&p)
	p.need(c.DataDir != "", "data_dir: name a folder")
	if err := errors.Join(p...); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

type problems []error

func (p *problems) need(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}

func (p *problems) positive(key string, d time.Duration) {
	p.need(d > 0, "%s: must be more than 0, such as 10s; it is %s", key, duration(d))
}

func (p *problems) addr(key, addr string) {
	_, port, err := net.SplitHostPort(addr)
	p.need(err == nil && port != "", "%s: %q is not host:port", key, addr)
}

func (p *problems) readable(key, file string) {
	if file == "" {
		return
	}
	f, err := os.Open(file)
	if err != nil {
		p.need(false, "%s: %v", key, err)
		return
	}
	_ = f.Close() // opened for reading only
}

func (p *problems) tls(key string, t TLS) {
	if !t.Enabled {
		return
	}
	p.need(
		(t.CertFile == "") == (t.KeyFile == ""),
		"%s: a client certificate needs both cert_file and key_file", key,
	)
	p.readable(key+".ca_file", t.CAFile)
	p.readable(key+".cert_file", t.CertFile)
	p.readable(key+".key_file", t.KeyFile)
}

func (l Log) validate(p *problems) {
	var level slog.Level
	p.need(
		level.UnmarshalText([]byte(l.Level)) == nil,
		"log.level: %q is not debug, info, warn or error", l.Level,
	)
	p.need(l.Format == "text" || l.Format == "json", "log.format: %q is not text or json", l.Format)
}

func (k Kafka) validate(p *problems) {
	p.need(len(k.Brokers) > 0, "kafka.brokers: no broker; set KAFKA_BROKERS to host:port")
	for _, b := range k.Brokers {
		p.addr("kafka.brokers", b)
	}
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("._-", r)
	}
	p.need(
		!strings.ContainsFunc(k.TopicPrefix, func(r rune) bool { return !legal(r) }),
		"kafka.topic_prefix: %q may hold letters, digits, dots, dashes and underscores only",
		k.TopicPrefix,
	)
	p.need(len(k.TopicPrefix) <= 100, "kafka.topic_prefix: longer than 100 characters")
	p.need(
		k.MaxDecompressedBytes >= 1<<20 && k.MaxDecompressedBytes <= 1<<30,
		"kafka.max_decompressed_bytes: %s is not from 1MiB to 1GiB", k.MaxDecompressedBytes,
	)
	_, err := k.DamagedOffsets()
	p.need(err == nil, "kafka.skip_damaged: %v", err)
	p.tls("kafka.tls", k.TLS)
	mechanisms := []string{"", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	p.need(
		slices.Contains(mechanisms, k.SASL.Mechanism),
		"kafka.sasl.mechanism: %q is not PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", k.SASL.Mechanism,
	)
	p.need(
		k.SASL.Mechanism == "" || k.SASL.Username != "", "kafka.sasl.username: %s needs one",
		k.SASL.Mechanism,
	)
}

func (t Topics) validate(p *problems) {
	p.need(
		t.Partitions >= 1 && t.Partitions <= 10_000, "topics.partitions: %d is not from 1 to 10000",
		t.Partitions,
	)
	p.need(
		t.ReplicationFactor >= 0 && t.ReplicationFactor <= 100,
		"topics.replication_factor: %d is not from 0 to 100", t.ReplicationFactor,
	)
	p.need(
		t.Retention == 0 || t.Retention >= time.Hour,
		"topics.retention: %s would lose events before they are read; use 1h or more; 0: forever",
		duration(t.Retention),
	)
	for i, d := range t.RetryDelays {
		p.need(d >= time.Second, "topics.retry_delays: %s is less than 1s", duration(d))
		p.need(
			i == 0 || d > t.RetryDelays[i-1],
			"topics.retry_delays: they must grow, but %s comes after %s", duration(d),
			duration(t.RetryDelays[max(i-1, 0)]),
		)
	}
}

func (s Stream) validate(p *problems) {
	p.need(
		s.MaxRecords >= 1 && s.MaxRecords <= 100_000,
		"stream.max_records: %d is not from 1 to 100000", s.MaxRecords,
	)
	p.need(
		s.MaxBytes >= 64<<10 && s.MaxBytes <= 64<<20,
		"stream.max_bytes: %s is not from 64KiB to 64MiB", s.MaxBytes,
	)
	p.need(
		s.Linger >= 0 && s.Linger <= 10*time.Second, "stream.linger: %s is not from 0 to 10s",
		duration(s.Linger),
	)
	p.need(
		s.LearnInterval > 0 && s.LearnInterval <= time.Minute,
		"stream.learn_interval: %s is not above 0 and up to 1m", duration(s.LearnInterval),
	)
	p.need(
		s.InsertInterval >= 0 && s.InsertInterval <= time.Minute,
		"stream.insert_interval: %s is not from 0 to 1m", duration(s.InsertInterval),
	)
	p.positive("stream.request_timeout", s.RequestTimeout)
	p.positive("stream.rebalance_timeout", s.RebalanceTimeout)
	p.positive("stream.stop_timeout", s.StopTimeout)
	p.need(
		s.SessionTimeout >= 6*time.Second,
		"stream.session_timeout: %s is below the 6s that brokers accept by default",
		duration(s.SessionTimeout),
	)
	p.need(
		s.HeartbeatInterval > 0 && s.HeartbeatInterval <= s.SessionTimeout/3,
		"stream.heartbeat_interval: %s is not within a third of stream.session_timeout (%s)",
		duration(s.HeartbeatInterval),
		duration(s.SessionTimeout/3),
	)
	p.need(
		s.MaxClockSkew >= time.Second, "stream.max_clock_skew: %s is below 1s",
		duration(s.MaxClockSkew),
	)
	p.need(s.RecentIDs >= 0, "stream.recent_ids: %d is below 0", s.RecentIDs)
}

func (g Guard) validate(p *problems) {
	p.need(g.MaxAttempts >= 1, "guard.max_attempts: %d is below 1", g.MaxAttempts)
	p.positive("guard.min_backoff", g.MinBackoff)
	p.need(
		g.MaxBackoff >= g.MinBackoff, "guard.max_backoff: %s is below min_backoff (%s)",
		duration(g.MaxBackoff), duration(g.MinBackoff),
	)
	p.need(g.BreakerFailures >= 1, "guard.breaker_failures: %d is below 1", g.BreakerFailures)
	p.positive("guard.breaker_delay", g.BreakerDelay)
}

func (c Config) validateStores(p *problems) {
	p.addr("qdrant.addr", c.Qdrant.Addr)
	p.readable("qdrant.tls.ca_file", c.Qdrant.TLS.CAFile)
	for addr := range strings.SplitSeq(c.ClickHouse.Addr, ",") {
		p.addr("clickhouse.addr", strings.TrimSpace(addr))
	}
	p.readable("clickhouse.tls.ca_file", c.ClickHouse.TLS.CAFile)
	for key, days := range map[string]int{
		"interaction_days":    c.ClickHouse.InteractionDays,
		"recommendation_days": c.ClickHouse.RecommendationDays,
		"dead_letter_days":    c.ClickHouse.DeadLetterDays,
	} {
		p.need(days >= 0, "clickhouse.%s: %d is below 0; use 0 to keep them forever", key, days)
	}
	p.need(c.ClickHouse.Database != "", "clickhouse.database: name one")
	u, err := url.Parse(c.Neo4j.URI)
	schemes := []string{"bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"}
	p.need(
		err == nil && u.Host != "" && slices.Contains(schemes, u.Scheme),
		"neo4j.uri: %q is not such as bolt://host:7687",
		c.Neo4j.URI,
	)
	p.readable("neo4j.ca_file", c.Neo4j.CAFile)
	for key, d := range map[string]time.Duration{
		"qdrant.timeout": c.Qdrant.Timeout, "neo4j.timeout": c.Neo4j.Timeout,
		"clickhouse.timeout": c.ClickHouse.Timeout,
	} {
		p.positive(key, d)
		p.need(d < c.Stream.SessionTimeout, "%s: %s is not below stream.session_timeout (%s): a "+
			"late write would come from a member that has lost its partition",
			key, duration(d), duration(c.Stream.SessionTimeout))
	}
}

func (h HTTP) validate(p *problems) {
	p.addr("http.addr", h.Addr)
	p.need((h.CertFile == "") == (h.KeyFile == ""), "http: HTTPS needs both cert_file and key_file")
	p.readable("http.cert_file", h.CertFile)
	p.readable("http.key_file", h.KeyFile)
	p.need(
		h.MaxEventBytes >= 1<<10 && h.MaxEventBytes <= 1<<20-16<<10,
		"http.max_event_bytes: %s is not from 1KiB to 1008KiB, what Kafka takes by default",
		h.MaxEventBytes,
	)
	p.need(
		h.MaxBodyBytes >= h.MaxEventBytes, "http.max_body_bytes: %s is below max_event_bytes (%s)",
		h.MaxBodyBytes, h.MaxEventBytes,
	)
	p.need(
		h.MaxInflightBytes >= h.MaxBodyBytes,
		"http.max_inflight_bytes: %s is below max_body_bytes (%s)", h.MaxInflightBytes,
		h.MaxBodyBytes,
	)
	p.positive("http.read_header_timeout", h.ReadHeaderTimeout)
	p.positive("http.read_timeout", h.ReadTimeout)
	p.positive("http.request_timeout", h.RequestTimeout)
	p.positive("http.idle_timeout", h.IdleTimeout)
	p.positive("http.shutdown_timeout", h.ShutdownTimeout)
	p.need(h.DrainDelay >= 0, "http.drain_delay: %s is negative", h.DrainDelay)
	names, keys := map[string]bool{}, map[string]bool{}
	for i, k := range h.APIKeys {
		k.validate(p, i)
		p.need(!names[k.Name], "http.api_keys: the name %s comes twice", k.Name)
		p.need(!keys[k.Key], "http.api_keys: %s has the key of another entry", k.Name)
		names[k.Name], keys[k.Key] = true, true
	}
}

func (k APIKey) validate(p *problems, i int) {
	p.need(k.Name != "", "http.api_keys: entry %d has no name", i+1)
	hash, hashed := strings.CutPrefix(k.Key, "sha256:")
	if hashed {
		isHex := len(hash) == 64 && !strings.ContainsFunc(
			hash,
			func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) },
		)
		p.need(
			isHex, "http.api_keys: the hash of %s is not 64 digits of lower-case hexadecimal",
			k.Name,
		)
	} else {
		p.need(
			len(k.Key) >= 16,
			"http.api_keys: the key of %s is shorter than 16 characters; make one with openssl "+
				"rand -hex 32",
			k.Name,
		)
	}
	p.need(len(k.Roles) > 0, "http.api_keys: %s has no role; use emit, read or operate", k.Name)
	for _, r := range k.Roles {
		p.need(
			r == RoleEmit || r == RoleRead || r == RoleOperate,
			"http.api_keys: %s has the role %q; use emit, read or operate", k.Name, r,
		)
	}
}

func (m Model) validate(p *problems) {
	p.need(
		m.Dim >= 8 && m.Dim <= 1024 && m.Dim%8 == 0,
		"model.dim: %d is not a multiple of 8 from 8 to 1024", m.Dim,
	)
	p.need(
		m.Negatives >= 1 && m.Negatives <= 10_000, "model.negatives: %d is not from 1 to 10000",
		m.Negatives,
	)
	p.need(m.Rate > 0 && m.Rate <= 10, "model.rate: %v is not above 0 and at most 10", m.Rate)
	p.need(m.MaxSeen >= 1, "model.max_seen: %d is below 1", m.MaxSeen)
	p.need(
		m.ContentWeight >= 0 && m.ContentWeight <= 10,
		"model.content_weight: %v is not from 0 to 10", m.ContentWeight,
	)
	p.need(m.FriendWeight >= 0, "model.friend_weight: %v is below 0", m.FriendWeight)
}

func (r Recommend) validate(p *problems) {
	p.need(
		r.ListLength >= 1 && r.ListLength <= 1000,
		"recommend.list_length: %d is not from 1 to 1000", r.ListLength,
	)
	p.need(
		r.Candidates >= r.ListLength && r.Candidates <= 1000,
		"recommend.candidates: %d is not from list_length (%d) to 1000", r.Candidates, r.ListLength,
	)
	p.need(
		r.NewShare >= 0 && r.NewShare <= 1, "recommend.new_share: %v is not from 0 to 1",
		r.NewShare,
	)
	p.need(
		r.Diversity >= 0 && r.Diversity <= 1, "recommend.diversity: %v is not from 0 to 1",
		r.Diversity,
	)
	p.need(
		r.HoldoutShare >= 0 && r.HoldoutShare <= 1,
		"recommend.holdout_share: %v is not from 0 to 1", r.HoldoutShare,
	)
	p.need(r.Variant != "", "recommend.variant: name one")
	p.need(
		r.Locale == "en" || r.Locale == "de", "recommend.locale: %q is not en or de", r.Locale,
	)
	p.need(r.FriendsLimit >= 0, "recommend.friends_limit: %d is below 0", r.FriendsLimit)
	p.positive("recommend.ttl", r.TTL)
	p.positive("recommend.trending_half_life", r.TrendingHalfLife)
	p.positive("recommend.trending_interval", r.TrendingInterval)
	p.need(r.UserTTL >= 0, "recommend.user_ttl: %v is below 0", r.UserTTL)
	p.need(r.ItemTTL >= 0, "recommend.item_ttl: %v is below 0", r.ItemTTL)
	p.need(r.CatchUpRate >= 1, "recommend.catch_up_rate: %d is below 1", r.CatchUpRate)
}
