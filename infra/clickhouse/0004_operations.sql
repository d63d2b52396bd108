-- Dead letters, progress and facts about the store.
--
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS dead_letter_rows
(
    id              String                 COMMENT 'UUID of the dead letter, derived from group, topic, partition and offset of the record.',
    consumer_group  LowCardinality(String) COMMENT 'The processor that could not process it.',
    topic           LowCardinality(String) COMMENT 'Its topic.',
    partition       UInt16                 COMMENT 'Its partition.',
    offset          Int64                  COMMENT 'Its offset.',
    class           LowCardinality(String) COMMENT 'permanent: the record is invalid; unknown: it failed at every attempt.',
    reason          String                 COMMENT 'Why, for a person.' CODEC(ZSTD(3)),
    attempts        UInt32                 COMMENT 'How often it was tried.',
    key             String                 COMMENT 'The record''s key, in hexadecimal after 0x where it is not UTF-8.' CODEC(ZSTD(1)),
    value           String                 COMMENT 'The record''s value, byte for byte.' CODEC(ZSTD(3)),
    state           LowCardinality(String) COMMENT 'open, replayed or dropped.',
    note            String                 COMMENT 'The reason given for a resolution.',
    first_failed_at DateTime64(3, 'UTC')   COMMENT 'First failure, UTC.',
    last_failed_at  DateTime64(3, 'UTC')   COMMENT 'Last failure, UTC.',
    poison_offset   Int64                  COMMENT 'Offset in the topic <group>.poison.',
    log_topic       LowCardinality(String) COMMENT 'Topic of the log the row was read from.',
    log_partition   UInt16                 COMMENT 'Partition of that topic.',
    recorded_at     DateTime64(3, 'UTC')   COMMENT 'When the log took the row, UTC. The time to live counts from here.'
)
ENGINE = MergeTree
ORDER BY (id, recorded_at)
SETTINGS non_replicated_deduplication_window = 100000, enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'Storage of the view dead_letters: each dead letter and each step of its resolution is a row.';

CREATE VIEW IF NOT EXISTS dead_letters
(
    id              String                 COMMENT 'UUID of the dead letter, derived from group, topic, partition and offset of the record.',
    consumer_group  LowCardinality(String) COMMENT 'The processor that could not process it.',
    topic           LowCardinality(String) COMMENT 'Its topic.',
    partition       UInt16                 COMMENT 'Its partition.',
    offset          Int64                  COMMENT 'Its offset.',
    class           LowCardinality(String) COMMENT 'permanent: the record is invalid; unknown: it failed at every attempt.',
    reason          String                 COMMENT 'Why, for a person.',
    attempts        UInt32                 COMMENT 'How often it was tried.',
    key             String                 COMMENT 'The record''s key, in hexadecimal after 0x where it is not UTF-8.',
    value           String                 COMMENT 'The record''s value, byte for byte.',
    state           LowCardinality(String) COMMENT 'open, replayed or dropped.',
    note            String                 COMMENT 'The reason given for the resolution.',
    first_failed_at DateTime64(3, 'UTC')   COMMENT 'First failure, UTC.',
    last_failed_at  DateTime64(3, 'UTC')   COMMENT 'Last failure, UTC.',
    poison_offset   Int64                  COMMENT 'Offset in the topic <group>.poison.',
    recorded_at     DateTime64(3, 'UTC')   COMMENT 'When the newest state was written, UTC.'
) AS
SELECT id, consumer_group, topic, partition, offset, class, reason, attempts, key, value, state, note, first_failed_at, last_failed_at, poison_offset, recorded_at
FROM dead_letter_rows
ORDER BY recorded_at DESC, poison_offset DESC, state = 'open'
LIMIT 1 BY id
COMMENT 'Dead letters, one row each, with their newest state.';

CREATE TABLE IF NOT EXISTS progress_rows
(
    topic       LowCardinality(String) COMMENT 'Topic of the log.',
    partition   UInt16                 COMMENT 'Its partition.',
    offset      Int64                  COMMENT 'Every record up to here is in the store.',
    occurred_at DateTime64(6, 'UTC')   COMMENT 'Highest occurred_at up to there, UTC.',
    recorded_at DateTime64(3, 'UTC')   COMMENT 'Highest time of the log up to there, UTC.'
)
ENGINE = ReplacingMergeTree(offset)
ORDER BY (topic, partition)
COMMENT 'Storage of the view completeness.';

CREATE VIEW IF NOT EXISTS completeness
(
    topic       LowCardinality(String) COMMENT 'Topic of the log.',
    partition   UInt16                 COMMENT 'Its partition.',
    offset      Int64                  COMMENT 'Every record of the partition up to this offset is in these tables, with its sums.',
    occurred_at DateTime64(6, 'UTC')   COMMENT 'The highest occurred_at up to there, UTC.',
    recorded_at DateTime64(3, 'UTC')   COMMENT 'The highest time of the log up to there, UTC: whatever the log took before is here.'
) AS
SELECT topic, partition, offset, occurred_at, recorded_at
FROM progress_rows FINAL
COMMENT 'Up to which position and time each partition of the log is complete. Everything up to the lowest recorded_at of a topic is in the tables.';

CREATE TABLE IF NOT EXISTS meta
(
    name  String                          COMMENT 'log_id.',
    value String                          COMMENT 'Its value.',
    at    DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was written.'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY name
COMMENT 'Facts about the store: the id of the log whose events it holds.';
