-- Records of one item, or of one user, may stand in several partitions of a topic, whose offsets
-- cannot be compared. So the storage keeps the newest of each partition, by offset, and the views
-- show the newest of all: by the log's time, then partition, then offset.
--
-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE item_versions ADD COLUMN IF NOT EXISTS stood UInt32 COMMENT 'log_partition + 1; 0 for rows of older versions.', MODIFY ORDER BY (item_id, stood);

ALTER TABLE user_versions ADD COLUMN IF NOT EXISTS stood UInt32 COMMENT 'log_partition + 1; 0 for rows of older versions.', MODIFY ORDER BY (user_id, stood);

ALTER TABLE item_versions MODIFY COLUMN log_offset COMMENT 'Offset in that partition; the highest of a partition is its newest.';

ALTER TABLE user_versions MODIFY COLUMN log_offset COMMENT 'Offset in that partition; the highest of a partition is its newest.';

CREATE OR REPLACE VIEW items
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
ORDER BY item_id, recorded_at DESC, log_partition DESC, log_offset DESC
LIMIT 1 BY item_id
COMMENT 'The catalog, one row per item, as it is now; withdrawn items too.';

CREATE OR REPLACE VIEW users
(
    user_id     String              COMMENT 'The user.',
    attributes  String              COMMENT 'Attributes as a JSON object: JSONExtractString(attributes, ''country'').',
    occurred_at DateTime64(6, 'UTC') COMMENT 'When the application changed them last, UTC.',
    recorded_at DateTime64(3, 'UTC') COMMENT 'When the log took them, UTC.'
) AS
SELECT user_id, attributes, occurred_at, recorded_at
FROM (
    SELECT user_id, attributes, occurred_at, recorded_at, erased
    FROM user_versions FINAL
    ORDER BY user_id, recorded_at DESC, log_partition DESC, log_offset DESC
    LIMIT 1 BY user_id
)
WHERE NOT erased
COMMENT 'Users whose attributes are known, one row each, as they are now. Users without attributes are only in user_activity.';
