-- What the table of actions (docs/adr/0021-one-table-of-actions.md) says of an interaction stands
-- beside it, and feedback to lists is counted by it. Rows from before, and those of an older
-- version, have what the built-in actions of then counted as.
--
-- The view is renamed as in 0009, which restores its tokens.
--
-- +goose NO TRANSACTION
-- +goose Up
-- Where an earlier attempt was cut off.
RENAME TABLE IF EXISTS interactions_to_recommendation_sums_renamed TO interactions_to_recommendation_sums;

ALTER TABLE interactions ADD COLUMN IF NOT EXISTS meaning LowCardinality(String) COMMENT 'What the action, with its value, says: nothing, refusal, doubt, interest or love. Empty in rows of older versions.' AFTER action;

ALTER TABLE interactions ADD COLUMN IF NOT EXISTS outcome LowCardinality(String) DEFAULT multiIf(action = 'impression', 'impression', action = 'click', 'click', action IN ('like', 'add_to_cart', 'purchase', 'watch'), 'conversion', action IN ('dislike', 'skip', 'hide'), 'refusal', 'none') COMMENT 'What it counts as for the list that it names: none, impression, click, conversion or refusal.' AFTER meaning;

CREATE OR REPLACE VIEW recommendation_outcomes
(
    recommendation_id String              COMMENT 'The list.',
    lists             UInt8               COMMENT '1; 0 when feedback names a list that was never on the log.',
    strategy          String              COMMENT 'How the list was made; unknown when lists is 0.',
    variant           String              COMMENT 'Variant of the experiment; unknown when lists is 0.',
    trigger           String              COMMENT 'event or request.',
    day               Date                COMMENT 'Day it was served, UTC; of its newest feedback when lists is 0.',
    served_at         DateTime64(6, 'UTC') COMMENT 'When it was computed, UTC.',
    items             UInt16              COMMENT 'Its length.',
    degraded          UInt8               COMMENT '1 when a store was down while it was made.',
    impressions       UInt64              COMMENT 'Impressions of its items.',
    clicks            UInt64              COMMENT 'Clicks on its items.',
    conversions       UInt64              COMMENT 'Interactions with outcome conversion that name it: likes, purchases, good ratings, ….',
    refusals          UInt64              COMMENT 'Interactions with outcome refusal that name it: dislikes, hides, low ratings, ….'
) AS
SELECT s.recommendation_id AS recommendation_id, max(s.lists) AS lists, if(max(s.lists) = 1, max(s.strategy), 'unknown') AS strategy,
       if(max(s.lists) = 1, max(s.variant), 'unknown') AS variant, max(s.trigger) AS trigger,
       toDate(if(max(s.lists) = 1, max(s.served_at), max(s.feedback_at))) AS day, max(s.served_at) AS served_at, max(s.items) AS items,
       max(s.degraded) AS degraded, sum(s.impressions) AS impressions, sum(s.clicks) AS clicks, sum(s.conversions) AS conversions, sum(s.refusals) AS refusals
FROM recommendation_sums AS s
WHERE NOT startsWith(s.recommendation_id, '\t')
GROUP BY s.recommendation_id
COMMENT 'What became of each served list. Holds no user; kept for good.';

CREATE OR REPLACE VIEW strategy_days
(
    day                      Date    COMMENT 'Day the lists were served, UTC.',
    strategy                 String  COMMENT 'How they were made; unknown: feedback to lists that were never on the log.',
    variant                  String  COMMENT 'Variant of the experiment.',
    lists                    UInt64  COMMENT 'Lists served, each counted once.',
    lists_shown              UInt64  COMMENT 'Lists with at least one impression.',
    lists_clicked            UInt64  COMMENT 'Lists with at least one click.',
    impressions              UInt64  COMMENT 'Impressions of items of these lists, whenever they came.',
    clicks                   UInt64  COMMENT 'Clicks on items of these lists, whenever they came.',
    conversions              UInt64  COMMENT 'Interactions with outcome conversion that name these lists.',
    refusals                 UInt64  COMMENT 'Interactions with outcome refusal that name these lists.',
    click_through_lists      Nullable(Float64) COMMENT 'lists_clicked / lists; NULL when there are none.',
    click_through_impressions Nullable(Float64) COMMENT 'clicks / impressions; NULL when there are none.'
) AS
SELECT o.day AS day, o.strategy AS strategy, o.variant AS variant, sum(o.lists) AS lists, countIf(o.impressions > 0) AS lists_shown,
       countIf(o.clicks > 0) AS lists_clicked, sum(o.impressions) AS impressions, sum(o.clicks) AS clicks, sum(o.conversions) AS conversions,
       sum(o.refusals) AS refusals, countIf(o.clicks > 0) / nullIf(sum(o.lists), 0) AS click_through_lists,
       sum(o.clicks) / nullIf(sum(o.impressions), 0) AS click_through_impressions
FROM recommendation_outcomes AS o
GROUP BY o.day, o.strategy, o.variant
COMMENT 'Lists served, impressions, clicks and click-through per day, strategy and variant. Kept for good, also when a user was erased.';

CREATE OR REPLACE VIEW click_through_by_rank
(
    strategy    LowCardinality(String) COMMENT 'How the lists were made.',
    variant     LowCardinality(String) COMMENT 'Variant of the experiment.',
    rank        UInt16                 COMMENT 'Place in the list, from 1.',
    source      LowCardinality(String) COMMENT 'The candidate generator.',
    places      UInt64                 COMMENT 'How often an item was served there; a list counts once.',
    impressions UInt64                 COMMENT 'Impressions of the items there.',
    clicks      UInt64                 COMMENT 'Clicks on the items there.',
    click_through_impressions Nullable(Float64) COMMENT 'clicks / impressions.'
) AS
SELECT p.strategy AS strategy, p.variant AS variant, p.rank AS rank, p.source AS source, count() AS places,
       sum(f.impressions) AS impressions, sum(f.clicks) AS clicks, sum(f.clicks) / nullIf(sum(f.impressions), 0) AS click_through_impressions
FROM (SELECT DISTINCT recommendation_id, strategy, variant, item_id, rank, source FROM recommended_items) AS p
LEFT JOIN (
    SELECT recommendation_id, item_id, countIf(outcome = 'impression') AS impressions, countIf(outcome = 'click') AS clicks
    FROM interactions
    WHERE recommendation_id != ''
    GROUP BY recommendation_id, item_id
) AS f ON f.recommendation_id = p.recommendation_id AND f.item_id = p.item_id
GROUP BY p.strategy, p.variant, p.rank, p.source
COMMENT 'Clicks per place of the list and candidate generator, from the raw rows that are still there.';

ALTER TABLE interactions_to_recommendation_sums MODIFY QUERY
SELECT if(w, concat('\tlog:', g.topic, '/', toString(g.part)), g.list) AS recommendation_id,
       if(w, fromUnixTimestamp64Micro(g.newest, 'UTC'), g.at) AS feedback_at, if(w, 0, g.i) AS impressions, if(w, 0, g.c) AS clicks,
       if(w, 0, g.v) AS conversions, if(w, 0, g.f) AS refusals
FROM (
    SELECT recommendation_id AS list, max(occurred_at) AS at, countIf(outcome = 'impression') AS i, countIf(outcome = 'click') AS c,
           countIf(outcome = 'conversion') AS v, countIf(outcome = 'refusal') AS f,
           max(log_offset) + 1 AS newest, any(log_topic) AS topic, any(log_partition) AS part
    FROM interactions
    WHERE recommendation_id != ''
    GROUP BY list
) AS g
ARRAY JOIN [false, true] AS w;

RENAME TABLE interactions_to_recommendation_sums TO interactions_to_recommendation_sums_renamed,
    interactions_to_recommendation_sums_renamed TO interactions_to_recommendation_sums;
