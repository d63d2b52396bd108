-- Raw interactions and what is summed up from them.
--
-- Every table remembers the tokens of its last 100,000 inserted blocks
-- (non_replicated_deduplication_window). A retried insert is dropped in each table that has its
-- block already. A block is counted once per table partition. The sums have no partitions, so a
-- block is inserted there as a whole or not at all, whatever months it spans.
--
-- Tables that name a user number their rows (enable_block_number_column,
-- enable_block_offset_column). An erasure is then a small patch part (about 50 ms) instead of a
-- mutation of every part (seconds for a few years of months).
--
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS interactions
(
    event_id          String                              COMMENT 'Id of the event; together with source it identifies it. Without one from the sender: topic/partition/offset.' CODEC(ZSTD(1)),
    source            LowCardinality(String)              COMMENT 'Application that emitted the event; "log" when it did not say.',
    user_id           String                              COMMENT 'Who did it.' CODEC(ZSTD(1)),
    item_id           String                              COMMENT 'The item it was done with.' CODEC(ZSTD(1)),
    action            LowCardinality(String)              COMMENT 'view, click, like, dislike, rate, add_to_cart, purchase, watch, skip, hide or impression.',
    value             Nullable(Float64)                   COMMENT 'rate: 0.5 to 5; watch: fraction watched, 0 to 1; purchase: the price. NULL when there is none.',
    occurred_at       DateTime64(6, 'UTC')                COMMENT 'When it happened, UTC, as the application says.' CODEC(Delta, ZSTD(1)),
    session_id        String                              COMMENT 'Session of the user, empty when not told.' CODEC(ZSTD(1)),
    recommendation_id String                              COMMENT 'The served list that led to it, empty when none did; joins recommendations.recommendation_id.' CODEC(ZSTD(1)),
    context           Map(LowCardinality(String), String) COMMENT 'Further facts from the application: context[''device''].' CODEC(ZSTD(1)),
    log_topic         LowCardinality(String)              COMMENT 'Topic of the log the row was read from; a replayed dead letter has that of the replay topic.',
    log_partition     UInt16                              COMMENT 'Partition of that topic.',
    log_offset        Int64                               COMMENT 'Offset in that partition. (log_topic, log_partition, log_offset) is unique.' CODEC(Delta, ZSTD(1)),
    recorded_at       DateTime64(3, 'UTC')                COMMENT 'When the log took the event, UTC. The time to live counts from here.' CODEC(Delta, ZSTD(1)),
    INDEX event_id_index event_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX item_id_index item_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX recommendation_id_index recommendation_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (user_id, occurred_at)
SETTINGS non_replicated_deduplication_window = 100000, enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'Every interaction, one row each, exactly once. Sorted by user and time; one partition per month of occurred_at.';

CREATE TABLE IF NOT EXISTS item_hour_sums
(
    hour        DateTime('UTC')                                      COMMENT 'Start of the hour of occurred_at, UTC.',
    item_id     String                                               COMMENT 'The item.',
    action      LowCardinality(String)                               COMMENT 'The action.',
    events      SimpleAggregateFunction(sum, UInt64)                 COMMENT 'Interactions, part of a sum.',
    value_count SimpleAggregateFunction(sum, UInt64)                 COMMENT 'Interactions with a value, part of a sum.',
    value_sum   SimpleAggregateFunction(sum, Float64)                COMMENT 'Sum of the values, part of a sum.',
    last_at     SimpleAggregateFunction(max, DateTime64(6, 'UTC'))   COMMENT 'Newest occurred_at.'
)
ENGINE = AggregatingMergeTree
ORDER BY (hour, item_id, action)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Storage of the view item_hours: partial sums, added up in the background. Read the view instead.';

-- Each insert also writes a witness row with hour 0: "log:topic/partition" in item_id and the offset
-- after its last row, as microseconds, in last_at. It is inserted with the sums or not at all, so it
-- tells whether the sums were inserted (sinks/clickhouse/repair.go).
CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_to_item_hours TO item_hour_sums AS
SELECT if(w, toDateTime(0, 'UTC'), g.h) AS hour, if(w, concat('log:', g.topic, '/', toString(g.part)), g.item) AS item_id, if(w, '', toString(g.act)) AS action,
       if(w, 0, g.n) AS events, if(w, 0, g.vn) AS value_count, if(w, 0, g.v) AS value_sum, if(w, fromUnixTimestamp64Micro(g.newest, 'UTC'), g.at) AS last_at
FROM (
    SELECT toStartOfHour(occurred_at) AS h, item_id AS item, action AS act, count() AS n, count(value) AS vn, sum(ifNull(value, 0)) AS v, max(occurred_at) AS at,
           max(log_offset) + 1 AS newest, any(log_topic) AS topic, any(log_partition) AS part
    FROM interactions
    GROUP BY h, item, act
) AS g
ARRAY JOIN [false, true] AS w;

CREATE TABLE IF NOT EXISTS user_day_sums
(
    user_id     String                                               COMMENT 'The user.',
    day         Date                                                 COMMENT 'Day of occurred_at, UTC.',
    action      LowCardinality(String)                               COMMENT 'The action.',
    events      SimpleAggregateFunction(sum, UInt64)                 COMMENT 'Interactions, part of a sum.',
    value_count SimpleAggregateFunction(sum, UInt64)                 COMMENT 'Interactions with a value, part of a sum.',
    value_sum   SimpleAggregateFunction(sum, Float64)                COMMENT 'Sum of the values, part of a sum.',
    last_at     SimpleAggregateFunction(max, DateTime64(6, 'UTC'))   COMMENT 'Newest occurred_at.'
)
ENGINE = AggregatingMergeTree
ORDER BY (user_id, day, action)
SETTINGS non_replicated_deduplication_window = 100000, enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'Storage of the view user_days: partial sums, added up in the background. Read the view instead.';

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_to_user_days TO user_day_sums AS
SELECT user_id, toDate(occurred_at) AS day, action, count() AS events, count(value) AS value_count,
       sum(ifNull(value, 0)) AS value_sum, max(occurred_at) AS last_at
FROM interactions
GROUP BY user_id, day, action;

CREATE VIEW IF NOT EXISTS item_hours
(
    hour        DateTime('UTC')        COMMENT 'Start of the hour of occurred_at, UTC.',
    item_id     String                 COMMENT 'The item.',
    action      LowCardinality(String) COMMENT 'view, click, like, dislike, rate, add_to_cart, purchase, watch, skip, hide or impression.',
    events      UInt64                 COMMENT 'How many interactions.',
    value_count UInt64                 COMMENT 'How many of them have a value.',
    value_sum   Float64                COMMENT 'Sum of the values: divide by value_count for the mean rating.',
    last_at     DateTime64(6, 'UTC')   COMMENT 'The newest of them.'
) AS
SELECT s.hour AS hour, s.item_id AS item_id, s.action AS action, sum(s.events) AS events, sum(s.value_count) AS value_count,
       sum(s.value_sum) AS value_sum, max(s.last_at) AS last_at
FROM item_hour_sums AS s
WHERE s.hour > toDateTime(0, 'UTC')
GROUP BY s.hour, s.item_id, s.action
COMMENT 'Interactions per item, action and hour: exact, kept for good, also when raw rows have expired or a user was erased.';

CREATE VIEW IF NOT EXISTS user_days
(
    user_id     String                 COMMENT 'The user.',
    day         Date                   COMMENT 'Day of occurred_at, UTC.',
    action      LowCardinality(String) COMMENT 'view, click, like, dislike, rate, add_to_cart, purchase, watch, skip, hide or impression.',
    events      UInt64                 COMMENT 'How many interactions.',
    value_count UInt64                 COMMENT 'How many of them have a value.',
    value_sum   Float64                COMMENT 'Sum of the values: divide by value_count for the mean rating.',
    last_at     DateTime64(6, 'UTC')   COMMENT 'The newest of them.'
) AS
SELECT s.user_id AS user_id, s.day AS day, s.action AS action, sum(s.events) AS events, sum(s.value_count) AS value_count,
       sum(s.value_sum) AS value_sum, max(s.last_at) AS last_at
FROM user_day_sums AS s
GROUP BY s.user_id, s.day, s.action
COMMENT 'Interactions per user, action and day: exact. Kept until the user is erased.';
