-- +goose Up

-- When the log took the change, in nanoseconds since 1970. NULL: an older version wrote the edge.
ALTER TABLE edges ADD COLUMN recorded_at INTEGER;
