// Package config holds every setting of the process in one struct, read once, at the start, from
// defaults < file < environment < flags.
//
// The struct is composed of plain sections, so that this package knows no other: the program maps a
// section onto the configuration of the package it is meant for. The tags of a field document it
// fully: the key in the file (koanf), the well-known environment variable if it has one (env;
// SLIPSTREAM_<KEY> always works), whether it is a secret, and the help that the command line and
// docs/CONFIGURATION.md show.
package config

import "time"

// Config is everything that can be set. Start from Default, or use Load.
type Config struct {
	DataDir    string     `koanf:"data_dir" help:"folder of the embedded broker and stores (dev)"`
	Actions    []Action   `koanf:"actions" help:"rules of actions beside the built-in ones, see Action below; rules of a built-in name replace all of that name. Must be the same in every process. In a variable: as YAML or JSON, such as [{name: listen, meaning: love, verb: listened to}]"`
	Log        Log        `koanf:"log"`
	Kafka      Kafka      `koanf:"kafka"`
	Topics     Topics     `koanf:"topics"`
	Stream     Stream     `koanf:"stream"`
	Guard      Guard      `koanf:"guard"`
	Qdrant     Qdrant     `koanf:"qdrant"`
	Neo4j      Neo4j      `koanf:"neo4j"`
	ClickHouse ClickHouse `koanf:"clickhouse"`
	HTTP       HTTP       `koanf:"http"`
	Model      Model      `koanf:"model"`
	Recommend  Recommend  `koanf:"recommend"`
}

// Action is a rule of the table of actions: what an action means when its value is in a range. What
// is nil or empty follows from the meaning.
type Action struct {
	Name string `koanf:"name" help:"the action, in lower case"`
	// From and To are as in schemas.Rule; To is 1e9 when it is 0.
	From         float64 `koanf:"from" help:"lowest value of the range"`
	To           float64 `koanf:"to" help:"end of the range: the value at which the next range of the action begins; absent: none"`
	WithoutValue *bool   `koanf:"without_value" help:"whether the rule is for events without a value, too. Absent: if it is the only rule of the action"`
	Meaning      string  `koanf:"meaning" help:"nothing, refusal, doubt, interest or love"`
	// Weight is 0 for nothing and doubt, -1 for refusal, 1 for interest and 1.2 for love when nil.
	Weight  *float64          `koanf:"weight" help:"what the learner makes of it, -10 to 10. Absent: nothing 0, refusal -1, doubt 0, interest 1, love 1.2"`
	Takes   *bool             `koanf:"takes" help:"whether the user has the item now. Absent: yes for doubt, interest and love"`
	Refuses *bool             `koanf:"refuses" help:"whether the item is never offered again. Absent: yes for refusal"`
	Verb    string            `koanf:"verb" help:"what the user did, in English, in the past tense: because you VERB Alien. Interest and love need one"`
	Verbs   map[string]string `koanf:"verbs" help:"the same by locale, as its sentences need it: {de: gehört}"`
	Counts  string            `koanf:"counts" help:"what it counts as for the list that led to it: none, impression, click, conversion or refusal. Absent: refusal for refusal, conversion for interest and love, else none"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `koanf:"level" help:"debug, info, warn or error"`
	Format string `koanf:"format" help:"text or json"`
}

// TLS says how connections are encrypted. The zero value is plain text.
type TLS struct {
	Enabled            bool   `koanf:"enabled" help:"encrypt with TLS; the other keys have no effect without it"`
	CAFile             string `koanf:"ca_file" help:"PEM file of the authorities to trust; empty: the system's"`
	CertFile           string `koanf:"cert_file" help:"PEM file of the client certificate; empty: none"`
	KeyFile            string `koanf:"key_file" help:"PEM file of the client certificate's key"`
	ServerName         string `koanf:"server_name" help:"name to check the server's certificate against; empty: the address"`
	InsecureSkipVerify bool   `koanf:"insecure_skip_verify" help:"accept any certificate: for experiments only"`
}

// StoreTLS says how connections to a store are encrypted. The zero value is plain text.
type StoreTLS struct {
	Enabled    bool   `koanf:"enabled" help:"encrypt with TLS; the other keys have no effect without it"`
	CAFile     string `koanf:"ca_file" help:"PEM file of the authorities to trust; empty: the system's"`
	ServerName string `koanf:"server_name" help:"name to check the server's certificate against; empty: the address"`
}

// SASL says how to authenticate to Kafka. The zero value does not.
type SASL struct {
	Mechanism string `koanf:"mechanism" help:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty: no authentication"`
	Username  string `koanf:"username" help:"user name"`
	Password  string `koanf:"password" secret:"true" help:"password"`
}

// Kafka says how to reach the brokers.
type Kafka struct {
	Brokers     []string `koanf:"brokers" env:"KAFKA_BROKERS" help:"host:port of one or more brokers, separated by commas; the others are discovered"`
	TopicPrefix string   `koanf:"topic_prefix" help:"put before the name of every topic and group, so that several installations share a cluster"`
	ClientID    string   `koanf:"client_id" help:"name of this process in the brokers' logs and quotas"`
	// MaxDecompressedBytes is as in stream.Config.
	MaxDecompressedBytes Bytes `koanf:"max_decompressed_bytes" help:"maximum memory for one partition's part of an answer of a broker when it is decompressed; a batch that needs more by itself cannot be read and becomes a dead letter"`
	// SkipDamaged holds topic/partition:first-last; see DamagedOffsets and stream.Config.
	SkipDamaged []string `koanf:"skip_damaged" help:"offsets that are given up because the log is damaged there and no replica has them whole: topic/partition:first-last, separated by commas. Groups make a dead letter of them and go on, other readers skip them. Keep it for as long as the topic keeps them"`
	TLS         TLS      `koanf:"tls"`
	SASL        SASL     `koanf:"sasl"`
}

// Topics says how topics are made. It matters at their creation, except for RetryDelays.
type Topics struct {
	Partitions        int             `koanf:"partitions" help:"partitions of the busy topics; changing it later needs a rebuild, since keys would move to other partitions"`
	ReplicationFactor int             `koanf:"replication_factor" help:"copies of each partition; 0: the broker's default"`
	Retention         time.Duration   `koanf:"retention" help:"how long events are kept in the log, counted from their time; 0: forever. Rebuilds and erasures reach back as far as the log"`
	RetryDelays       []time.Duration `koanf:"retry_delays" help:"delays of the retry topics, in increasing order; used where the order of effects does not matter"`
}

// Stream sizes batches and times the consumer groups.
type Stream struct {
	MaxRecords        int           `koanf:"max_records" help:"maximum records in a micro-batch"`
	MaxBytes          Bytes         `koanf:"max_bytes" help:"maximum bytes in a micro-batch"`
	Linger            time.Duration `koanf:"linger" help:"maximum time a batch waits to fill up. It waits as long as the previous batch took to handle: briefly in light traffic, and not at all in a backlog"`
	LearnInterval     time.Duration `koanf:"learn_interval" help:"maximum time gradients accumulate before item vectors are updated; shorter is fresher and writes more"`
	InsertInterval    time.Duration `koanf:"insert_interval" help:"maximum time analytics rows accumulate before they are inserted; shorter is fresher and costs the store more"`
	RequestTimeout    time.Duration `koanf:"request_timeout" help:"timeout of one request to a broker"`
	SessionTimeout    time.Duration `koanf:"session_timeout" help:"time without a heartbeat after which a member loses its partitions; the timeouts of stores must be shorter"`
	RebalanceTimeout  time.Duration `koanf:"rebalance_timeout" help:"maximum time for all members to rejoin"`
	HeartbeatInterval time.Duration `koanf:"heartbeat_interval" help:"time between heartbeats; at most a third of session_timeout"`
	RecentIDs         int           `koanf:"recent_ids" help:"latest event ids remembered per partition; an interaction that is sent again within them counts once"`
	MaxClockSkew      time.Duration `koanf:"max_clock_skew" help:"how far an event's time may be ahead of the broker's; a later event gets the broker's time. Rows depend on it, so it stands in the log; changing it needs a rebuild of all stores"`
	StopTimeout       time.Duration `koanf:"stop_timeout" help:"maximum time for batches in flight to finish at shutdown"`
}

// Guard says what happens to events that fail.
type Guard struct {
	MaxAttempts     int           `koanf:"max_attempts" help:"attempts at an event that fails for an unknown reason, before it becomes a dead letter; attempts during outages do not count"`
	MinBackoff      time.Duration `koanf:"min_backoff" help:"wait before the second attempt; it doubles with each attempt, with jitter"`
	MaxBackoff      time.Duration `koanf:"max_backoff" help:"maximum wait between attempts"`
	BreakerFailures int           `koanf:"breaker_failures" help:"consecutive failures of a store that open its circuit breaker"`
	BreakerDelay    time.Duration `koanf:"breaker_delay" help:"time an open breaker waits before it allows a trial"`
}

// Qdrant says how to reach the vectors.
type Qdrant struct {
	Addr             string        `koanf:"addr" env:"QDRANT_ADDR" help:"host:port of the gRPC interface"`
	APIKey           string        `koanf:"api_key" env:"QDRANT_API_KEY" secret:"true" help:"API key; empty: none"`
	TLS              StoreTLS      `koanf:"tls"`
	CollectionPrefix string        `koanf:"collection_prefix" help:"put before the name of every collection"`
	Quantisation     bool          `koanf:"quantisation" help:"keep int8 vectors in memory and the full ones on disk: a quarter of the memory for up to 5 % less recall of graph searches. Has effect on collections made afterwards, as by slipstream rebuild --store qdrant"`
	Timeout          time.Duration `koanf:"timeout" help:"timeout of one call"`
}

// Neo4j says how to reach the friendships.
type Neo4j struct {
	URI         string        `koanf:"uri" env:"NEO4J_URI" help:"such as bolt://host:7687 or, for a cluster, neo4j://host:7687; with TLS bolt+s:// or neo4j+s://"`
	Username    string        `koanf:"username" env:"NEO4J_USERNAME" help:"user name"`
	Password    string        `koanf:"password" env:"NEO4J_PASSWORD" secret:"true" help:"password"`
	Database    string        `koanf:"database" env:"NEO4J_DATABASE" help:"database; empty: the server's default"`
	CAFile      string        `koanf:"ca_file" help:"PEM file of the authorities to trust with a +s URI; empty: the system's"`
	LabelPrefix string        `koanf:"label_prefix" help:"put before every label, relationship type and constraint, so that several installations share a database"`
	Timeout     time.Duration `koanf:"timeout" help:"timeout of one call"`
}

// ClickHouse says how to reach the aggregates.
type ClickHouse struct {
	Addr               string        `koanf:"addr" env:"CLICKHOUSE_ADDR" help:"host:port of the native interface; several, separated by commas, are tried in order"`
	Database           string        `koanf:"database" env:"CLICKHOUSE_DATABASE" help:"database; migrate creates it when it is missing"`
	Username           string        `koanf:"username" env:"CLICKHOUSE_USERNAME" help:"user name"`
	Password           string        `koanf:"password" env:"CLICKHOUSE_PASSWORD" secret:"true" help:"password"`
	TLS                StoreTLS      `koanf:"tls"`
	Timeout            time.Duration `koanf:"timeout" help:"timeout of one call"`
	InteractionDays    int           `koanf:"interaction_days" help:"days that raw interactions are kept, counted from their acceptance by the log; 0: forever. Aggregates are kept"`
	RecommendationDays int           `koanf:"recommendation_days" help:"days that served lists are kept; 0: forever. Aggregates are kept"`
	DeadLetterDays     int           `koanf:"dead_letter_days" help:"days that the rows of dead letters are kept; 0: forever"`
}

// HTTP says how the API is served.
type HTTP struct {
	Addr              string        `koanf:"addr" help:"host:port to listen on; without a host, on every address"`
	APIKeys           []APIKey      `koanf:"api_keys" help:"callers and their roles; empty: anyone may do everything. In a variable: name:role+role:key, separated by commas"`
	CertFile          string        `koanf:"cert_file" help:"PEM file of the server's certificate; empty: plain HTTP"`
	KeyFile           string        `koanf:"key_file" help:"PEM file of the certificate's key"`
	MaxBodyBytes      Bytes         `koanf:"max_body_bytes" help:"largest request body, after decompression"`
	MaxEventBytes     Bytes         `koanf:"max_event_bytes" help:"largest single event"`
	MaxInflightBytes  Bytes         `koanf:"max_inflight_bytes" help:"total size of the bodies in flight; requests beyond it are answered 429"`
	ReadHeaderTimeout time.Duration `koanf:"read_header_timeout" help:"timeout of reading a request's headers"`
	ReadTimeout       time.Duration `koanf:"read_timeout" help:"timeout of reading a whole request"`
	RequestTimeout    time.Duration `koanf:"request_timeout" help:"timeout of answering a request"`
	IdleTimeout       time.Duration `koanf:"idle_timeout" help:"how long a connection without requests is kept"`
	DrainDelay        time.Duration `koanf:"drain_delay" help:"time between a signal to stop, from which on /readyz answers 503, and the end of new requests. Longer than who sends requests takes to notice. slipstream dev: 0"`
	ShutdownTimeout   time.Duration `koanf:"shutdown_timeout" help:"maximum time for running requests to finish at shutdown"`
}

// The roles that an API key may have.
const (
	// RoleEmit may send events, items, users and friendships.
	RoleEmit = "emit"
	// RoleRead may ask for recommendations.
	RoleRead = "read"
	// RoleOperate may see the state and handle dead letters.
	RoleOperate = "operate"
)

// APIKey is one caller of the API.
type APIKey struct {
	// Name stands for the key in logs.
	Name string `koanf:"name"`
	// Key is what the caller sends, or sha256: and the hexadecimal hash of it.
	Key string `koanf:"key"`
	// Roles are some of RoleEmit, RoleRead and RoleOperate.
	Roles []string `koanf:"roles"`
}

// Model sizes and steers the learner. Its defaults are those of package model.
type Model struct {
	Dim           int     `koanf:"dim" help:"length of the vectors, a multiple of 8. Item factors on the log have this length: to change it, use another topic prefix"`
	Negatives     int     `koanf:"negatives" help:"negative items sampled per positive event"`
	Rate          float64 `koanf:"rate" help:"step size of the learner"`
	Seed          uint64  `koanf:"seed" help:"seed of the initial vectors of new items; must be the same in every process"`
	MaxSeen       int     `koanf:"max_seen" help:"taken or refused items remembered per user"`
	ContentWeight float64 `koanf:"content_weight" help:"weight of a new item's genres, people and tags; 0: they do not count"`
	FriendWeight  float64 `koanf:"friend_weight" help:"number of own events at which friends count half; 0: friends do not count"`
}

// Recommend shapes the lists.
type Recommend struct {
	ListLength       int           `koanf:"list_length" help:"items in a published list"`
	Candidates       int           `koanf:"candidates" help:"nearest items retrieved and ranked for a list"`
	AllowTaken       bool          `koanf:"allow_taken" help:"whether items that a user has taken may be recommended again: no for films, yes for music or groceries"`
	NewShare         float64       `koanf:"new_share" help:"share of each list that is kept for new items which fit the user by their content; 0 keeps none"`
	Diversity        float64       `koanf:"diversity" help:"0: best scores only; 1: as different from each other as possible"`
	HoldoutShare     float64       `koanf:"holdout_share" help:"share of the users who get the baseline, chosen by a stable hash"`
	Variant          string        `koanf:"variant" help:"name of this configuration in lists, to compare click-through"`
	Locale           string        `koanf:"locale" help:"language of the reasons in published lists, and in others where the request does not say: en or de"`
	TTL              time.Duration `koanf:"ttl" help:"how long a list is valid"`
	FriendsLimit     int           `koanf:"friends_limit" help:"maximum friends considered for a list"`
	TrendingHalfLife time.Duration `koanf:"trending_half_life" help:"age at which an interaction counts half for trending"`
	TrendingInterval time.Duration `koanf:"trending_interval" help:"time between computations of trending"`
	UserTTL          time.Duration `koanf:"user_ttl" help:"time without events after which a user's vector is deleted; 0: never"`
	ItemTTL          time.Duration `koanf:"item_ttl" help:"time without an event of interest after which an item leaves that has no catalog entry, or was withdrawn; 0: never"`
	CatalogOnly      bool          `koanf:"catalog_only" help:"recommend only items that have a catalog entry, not ids that only events name"`
	CatchUpRate      int           `koanf:"catch_up_rate" help:"lists per second and process for users whose profile changes were deleted before they were read"`
}

// Default returns the configuration that applies where nothing else is set.
func Default() Config {
	return Config{
		DataDir: ".slipstream",
		Actions: []Action{},
		Log:     Log{Level: "info", Format: "text"},
		Kafka: Kafka{
			Brokers: []string{"127.0.0.1:9092"}, ClientID: "slipstream", SkipDamaged: []string{},
			MaxDecompressedBytes: 32 << 20,
		},
		Topics: Topics{
			Partitions:  8,
			RetryDelays: []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute},
		},
		Stream: Stream{
			MaxRecords: 1000, MaxBytes: 4 << 20, Linger: 50 * time.Millisecond,
			LearnInterval: 2 * time.Second, InsertInterval: 2 * time.Second,
			RequestTimeout: 10 * time.Second,
			SessionTimeout: 30 * time.Second, RebalanceTimeout: 30 * time.Second,
			HeartbeatInterval: 3 * time.Second,
			RecentIDs:         100_000, MaxClockSkew: 5 * time.Minute,
			StopTimeout: 20 * time.Second,
		},
		Guard: Guard{
			MaxAttempts: 5, MinBackoff: 100 * time.Millisecond, MaxBackoff: 30 * time.Second,
			BreakerFailures: 5, BreakerDelay: 5 * time.Second,
		},
		Qdrant: Qdrant{Addr: "127.0.0.1:6334", Timeout: 10 * time.Second},
		Neo4j:  Neo4j{URI: "bolt://127.0.0.1:7687", Username: "neo4j", Timeout: 10 * time.Second},
		ClickHouse: ClickHouse{
			Addr: "127.0.0.1:9000", Database: "slipstream", Username: "default",
			Timeout: 10 * time.Second, InteractionDays: 730, RecommendationDays: 180,
			DeadLetterDays: 180,
		},
		HTTP: HTTP{
			Addr:         "127.0.0.1:8080",
			MaxBodyBytes: 8 << 20, MaxEventBytes: 256 << 10, MaxInflightBytes: 64 << 20,
			ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
			RequestTimeout: 30 * time.Second,
			IdleTimeout:    2 * time.Minute, ShutdownTimeout: 20 * time.Second,
			DrainDelay: 5 * time.Second,
		},
		Model: Model{
			Dim: 64, Negatives: 128, Rate: 0.1, Seed: 1, MaxSeen: 10_000,
			ContentWeight: 0.5, FriendWeight: 2,
		},
		Recommend: Recommend{
			ListLength: 20, Candidates: 60, NewShare: 0.1, Diversity: 0.1, HoldoutShare: 0.05,
			Variant: "default", Locale: "en", TTL: 24 * time.Hour, FriendsLimit: 100,
			TrendingHalfLife: 24 * time.Hour, TrendingInterval: 15 * time.Second,
			UserTTL: 400 * 24 * time.Hour, ItemTTL: 90 * 24 * time.Hour, CatchUpRate: 200,
		},
	}
}
