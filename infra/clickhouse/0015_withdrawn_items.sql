-- A withdrawal says nothing but which item it is, and emptied the item in the view. Now the storage
-- keeps the row before it, and the view shows what the item was.
--
-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE item_versions MODIFY COLUMN stood COMMENT 'log_partition + 1; 0 for rows of older versions. Plus 2^30 for a withdrawal; 2^31 and more for a replayed dead letter.';

CREATE OR REPLACE VIEW items
(
    item_id      String                        COMMENT 'The item.',
    title        String                        COMMENT 'Its title; that of a withdrawn item is the last one.',
    genres       Array(LowCardinality(String)) COMMENT 'Its genres.',
    actors       Array(String)                 COMMENT 'Its actors.',
    directors    Array(String)                 COMMENT 'Its directors.',
    tags         Array(String)                 COMMENT 'Its tags.',
    description  String                        COMMENT 'Its description.',
    published_at Nullable(Date32)              COMMENT 'Day it was published; NULL when unknown, 1900-01-01 when earlier.',
    available    Bool                          COMMENT 'false: it is not recommended now.',
    withdrawn    Bool                          COMMENT 'true: the application withdrew it. The other columns are what it was before.',
    attributes   String                        COMMENT 'Further facts as a JSON object: JSONExtractString(attributes, ''studio'').',
    occurred_at  DateTime64(6, 'UTC')          COMMENT 'When the application changed it last, UTC.',
    recorded_at  DateTime64(3, 'UTC')          COMMENT 'When the log took it, UTC.'
) AS
SELECT item_id, was.1 AS title, was.2 AS genres, was.3 AS actors, was.4 AS directors, was.5 AS tags, was.6 AS description, was.7 AS published_at, is.1 AS available, is.2 AS withdrawn, was.8 AS attributes, is.3 AS occurred_at, is.4 AS recorded_at
FROM (
    SELECT v.item_id AS item_id,
           argMax((v.title, v.genres, v.actors, v.directors, v.tags, v.description, v.published_at, v.attributes),
                  (NOT (v.withdrawn AND v.title = ''), v.recorded_at, v.log_partition, v.log_offset)) AS was,
           argMax((v.available, v.withdrawn, v.occurred_at, v.recorded_at), (v.recorded_at, v.log_partition, v.log_offset)) AS is
    FROM item_versions AS v FINAL
    GROUP BY v.item_id
)
COMMENT 'The catalog, one row per item, as it is now; withdrawn items too.';
