-- +goose Up

-- What an event said of its time, where that was too far ahead of the log. Then occurred_at is the
-- time of the log. Else NULL.
ALTER TABLE interactions ADD COLUMN client_time TEXT;
ALTER TABLE item_versions ADD COLUMN client_time TEXT;
ALTER TABLE user_versions ADD COLUMN client_time TEXT;
