-- An event that says it happened later than the log's time allows gets the log's time as
-- occurred_at. What it said is kept in client_time.
--
-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE interactions ADD COLUMN IF NOT EXISTS client_time Nullable(DateTime64(6, 'UTC')) COMMENT 'What the event said of its time, where that was too far ahead of the log; then occurred_at is the time of the log. Else NULL. At most 2299-12-31.' CODEC(ZSTD(1)) AFTER occurred_at;

ALTER TABLE item_versions ADD COLUMN IF NOT EXISTS client_time Nullable(DateTime64(6, 'UTC')) COMMENT 'What the event said of its time, where that was too far ahead of the log; then occurred_at is the time of the log. Else NULL. At most 2299-12-31.' AFTER occurred_at;

ALTER TABLE user_versions ADD COLUMN IF NOT EXISTS client_time Nullable(DateTime64(6, 'UTC')) COMMENT 'What the event said of its time, where that was too far ahead of the log; then occurred_at is the time of the log. Else NULL. At most 2299-12-31.' AFTER occurred_at;
