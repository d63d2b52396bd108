-- +goose Up

-- What the store knows about itself: log_id names the log whose events it holds.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row per user. (The names users and items belong to the analysts' views of 0002, as in
-- ClickHouse.) key is the 64-bit hash of the id (schemas.Key), so that a point is found by one
-- integer look-up.
-- Vectors are 32-bit floats, little endian; times are nanoseconds since 1970 (the lowest integer
-- stands for "never").
CREATE TABLE user_points (
    key           INTEGER PRIMARY KEY,
    id            TEXT    NOT NULL,
    vector        BLOB,
    state         BLOB,
    positions     TEXT    NOT NULL,
    last_event_at INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL
);

-- For expiry, which asks for the users that were changed least recently.
CREATE INDEX user_points_changed_at ON user_points (changed_at);

-- One row per item. content is the catalog's JSON. version is an unsigned number kept as its bits:
-- compared in Go, never in SQL.
CREATE TABLE item_points (
    key            INTEGER PRIMARY KEY,
    id             TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    count          REAL    NOT NULL,
    changed_at     INTEGER NOT NULL,
    vector         BLOB,
    content_vector BLOB,
    content        TEXT    NOT NULL
);

-- One row per pair of users, a < b, with the newest change of their friendship; removed = 1 is a
-- tombstone.
CREATE TABLE edges (
    a        TEXT    NOT NULL,
    b        TEXT    NOT NULL,
    removed  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    event_id TEXT    NOT NULL,
    PRIMARY KEY (a, b),
    CHECK (a < b)
) WITHOUT ROWID;

-- The other direction; it holds all that a search for friends reads.
CREATE INDEX edges_b ON edges (b, a, removed);
