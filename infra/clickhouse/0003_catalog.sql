-- The catalog and the attributes of users. Old versions are kept until they are merged away. The
-- views show the newest version.
--
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS item_versions
(
    item_id       String                        COMMENT 'The item.',
    title         String                        COMMENT 'Its title.',
    genres        Array(LowCardinality(String)) COMMENT 'Its genres.',
    actors        Array(String)                 COMMENT 'Its actors.',
    directors     Array(String)                 COMMENT 'Its directors.',
    tags          Array(String)                 COMMENT 'Its tags.',
    description   String                        COMMENT 'Its description.' CODEC(ZSTD(3)),
    published_at  Nullable(Date32)              COMMENT 'Day it was published; NULL when unknown, 1900-01-01 when earlier.',
    available     Bool                          COMMENT 'false: it is not recommended now.',
    withdrawn     Bool                          COMMENT 'true: the application withdrew it.',
    attributes    String                        COMMENT 'Further facts as a JSON object: JSONExtractString(attributes, ''studio'').' CODEC(ZSTD(3)),
    occurred_at   DateTime64(6, 'UTC')          COMMENT 'When the application changed it, UTC.',
    log_topic     LowCardinality(String)        COMMENT 'Topic of the log the row was read from.',
    log_partition UInt16                        COMMENT 'Partition of that topic.',
    log_offset    Int64                         COMMENT 'Offset in that partition; the highest is the newest.',
    recorded_at   DateTime64(3, 'UTC')          COMMENT 'When the log took it, UTC.'
)
ENGINE = ReplacingMergeTree(log_offset)
ORDER BY item_id
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Storage of the view items: may hold older versions. Read the view instead.';

CREATE VIEW IF NOT EXISTS items
(
    item_id      String                        COMMENT 'The item.',
    title        String                        COMMENT 'Its title.',
    genres       Array(LowCardinality(String)) COMMENT 'Its genres.',
    actors       Array(String)                 COMMENT 'Its actors.',
    directors    Array(String)                 COMMENT 'Its directors.',
    tags         Array(String)                 COMMENT 'Its tags.',
    description  String                        COMMENT 'Its description.',
    published_at Nullable(Date32)              COMMENT 'Day it was published; NULL when unknown, 1900-01-01 when earlier.',
    available    Bool                          COMMENT 'false: it is not recommended now.',
    withdrawn    Bool                          COMMENT 'true: the application withdrew it.',
    attributes   String                        COMMENT 'Further facts as a JSON object: JSONExtractString(attributes, ''studio'').',
    occurred_at  DateTime64(6, 'UTC')          COMMENT 'When the application changed it last, UTC.',
    recorded_at  DateTime64(3, 'UTC')          COMMENT 'When the log took it, UTC.'
) AS
SELECT item_id, title, genres, actors, directors, tags, description, published_at, available, withdrawn, attributes, occurred_at, recorded_at
FROM item_versions FINAL
COMMENT 'The catalog, one row per item, as it is now; withdrawn items too.';

CREATE TABLE IF NOT EXISTS user_versions
(
    user_id       String                 COMMENT 'The user.',
    attributes    String                 COMMENT 'Attributes as a JSON object.' CODEC(ZSTD(3)),
    erased        Bool                   COMMENT 'true: the user was erased.',
    occurred_at   DateTime64(6, 'UTC')   COMMENT 'When the application changed it, UTC.',
    log_topic     LowCardinality(String) COMMENT 'Topic of the log the row was read from.',
    log_partition UInt16                 COMMENT 'Partition of that topic.',
    log_offset    Int64                  COMMENT 'Offset in that partition; the highest is the newest.',
    recorded_at   DateTime64(3, 'UTC')   COMMENT 'When the log took it, UTC.'
)
ENGINE = ReplacingMergeTree(log_offset)
ORDER BY user_id
SETTINGS non_replicated_deduplication_window = 100000, enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'Storage of the view users: may hold older versions. Read the view instead.';

CREATE VIEW IF NOT EXISTS users
(
    user_id     String              COMMENT 'The user.',
    attributes  String              COMMENT 'Attributes as a JSON object: JSONExtractString(attributes, ''country'').',
    occurred_at DateTime64(6, 'UTC') COMMENT 'When the application changed them last, UTC.',
    recorded_at DateTime64(3, 'UTC') COMMENT 'When the log took them, UTC.'
) AS
SELECT user_id, attributes, occurred_at, recorded_at
FROM user_versions FINAL
WHERE NOT erased
COMMENT 'Users whose attributes are known, one row each, as they are now. Users without attributes are only in user_activity.';
