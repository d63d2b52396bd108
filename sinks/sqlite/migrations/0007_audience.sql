-- +goose Up

-- Rows of an older version have the meaning that the built-in actions say, as they have their
-- outcome (0005).
UPDATE interactions SET meaning = CASE
    WHEN action = 'impression' THEN 'nothing'
    WHEN action IN ('dislike', 'skip', 'hide') THEN 'refusal'
    WHEN action = 'like' THEN 'love'
    WHEN action IN ('view', 'click', 'add_to_cart', 'purchase') THEN 'interest'
    WHEN action = 'watch' THEN iif(ifnull(value, 1) < 0.2, 'doubt', 'interest')
    WHEN action = 'rate' AND ifnull(value, 0) < 2.5 THEN 'refusal'
    WHEN action = 'rate' AND value < 3.5 THEN 'doubt'
    WHEN action = 'rate' THEN iif(value < 4, 'interest', 'love')
    ELSE '' END
WHERE meaning = '';

CREATE TABLE item_audience_users (
    -- Who said what of an item in an hour, each person once. Kept for 35 days before the newest
    -- hour, or until the user is erased. Read the view item_audience.
    hour    TEXT NOT NULL, -- start of the hour of occurred_at, UTC: 2026-11-22 12:00:00
    item_id TEXT NOT NULL,
    meaning TEXT NOT NULL, -- refusal, doubt, interest or love
    user_id TEXT NOT NULL,
    PRIMARY KEY (hour, item_id, meaning, user_id)
) WITHOUT ROWID;

INSERT OR IGNORE INTO item_audience_users (hour, item_id, meaning, user_id)
SELECT substr(occurred_at, 1, 13) || ':00:00', item_id, meaning, user_id FROM interactions
WHERE meaning NOT IN ('', 'nothing') AND occurred_at >= (
    SELECT strftime('%Y-%m-%d %H:00:00', max(occurred_at), '-35 days') FROM interactions
);

CREATE VIEW item_audience AS
-- People per item, meaning and hour. Do not add up over hours: who comes in two of them counts in
-- both.
SELECT hour, item_id, meaning, count(*) AS users FROM item_audience_users
GROUP BY hour, item_id, meaning;
