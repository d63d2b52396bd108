-- How many people, and not how many events: one person's thousand likes are one. What is trending
-- goes by it (docs/adr/0025-trending-by-people.md). A row holds a set of hashes of users, so a range
-- that is inserted again adds nothing: this table needs no tokens and no witness rows.
--
-- Rows of an older version have the meaning that the built-in actions say, as they have their
-- outcome (0011). The table is filled from the interactions that are there. Those count as recorded
-- now: their time to live begins here, also where a history from the past was replayed long ago.
--
-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE interactions MODIFY COLUMN meaning LowCardinality(String) DEFAULT multiIf(action = 'impression', 'nothing', action IN ('dislike', 'skip', 'hide'), 'refusal', action = 'like', 'love', action IN ('view', 'click', 'add_to_cart', 'purchase'), 'interest', action = 'watch', if(ifNull(value, 1) < 0.2, 'doubt', 'interest'), action = 'rate', multiIf(ifNull(value, 0) < 2.5, 'refusal', value < 3.5, 'doubt', value < 4, 'interest', 'love'), '') COMMENT 'What the action, with its value, says: nothing, refusal, doubt, interest or love. Rows of older versions have what the built-in actions say.';

CREATE TABLE IF NOT EXISTS item_audience_sums
(
    hour        DateTime('UTC')                                   COMMENT 'Start of the hour of occurred_at, UTC.',
    item_id     String                                            COMMENT 'The item.',
    meaning     LowCardinality(String)                            COMMENT 'refusal, doubt, interest or love.',
    users       AggregateFunction(uniqCombined64(12), String)     COMMENT 'Who said it, as hashes: uniqCombined64Merge(12)(users) counts people over any hours, items and meanings. Exact for a hundred people, within 3 % or so beyond.',
    recorded_at SimpleAggregateFunction(max, DateTime('UTC'))     COMMENT 'When the log took the newest of it, UTC. The time to live counts from here.'
)
ENGINE = AggregatingMergeTree
ORDER BY (hour, item_id, meaning)
TTL recorded_at + toIntervalDay(35)
COMMENT 'Storage of the view item_audience: sets of people, merged in the background. Read the view instead, or merge users to count people over several hours.';

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_to_item_audience TO item_audience_sums AS
SELECT toStartOfHour(occurred_at) AS hour, item_id, meaning, uniqCombined64State(12)(user_id) AS users, toDateTime(max(interactions.recorded_at), 'UTC') AS recorded_at
FROM interactions
WHERE meaning NOT IN ('', 'nothing')
GROUP BY hour, item_id, meaning;

CREATE VIEW IF NOT EXISTS item_audience
(
    hour    DateTime('UTC')        COMMENT 'Start of the hour of occurred_at, UTC.',
    item_id String                 COMMENT 'The item.',
    meaning LowCardinality(String) COMMENT 'What they said of it: refusal, doubt, interest or love.',
    users   UInt64                 COMMENT 'How many people, each once. Do not add up over hours: who comes in two of them counts in both.'
) AS
SELECT a.hour AS hour, a.item_id AS item_id, a.meaning AS meaning, uniqCombined64Merge(12)(a.users) AS users
FROM item_audience_sums AS a
GROUP BY a.hour, a.item_id, a.meaning
COMMENT 'People per item, meaning and hour. Kept for 35 days.';

INSERT INTO item_audience_sums
SELECT toStartOfHour(occurred_at) AS hour, item_id, meaning, uniqCombined64State(12)(user_id) AS users, now('UTC') AS recorded_at
FROM interactions
WHERE meaning NOT IN ('', 'nothing') AND occurred_at >= (SELECT max(occurred_at) FROM interactions) - toIntervalDay(35)
GROUP BY hour, item_id, meaning;
