-- Served lists, and what became of them.
--
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS recommendations
(
    recommendation_id String                         COMMENT 'Id of the list; interactions name it in recommendation_id.' CODEC(ZSTD(1)),
    user_id           String                         COMMENT 'Whom it was made for.' CODEC(ZSTD(1)),
    strategy          LowCardinality(String)         COMMENT 'How it was made: personal, trending, …',
    variant           LowCardinality(String)         COMMENT 'Variant of the experiment the user is in.',
    version           Int64                          COMMENT 'Grows with each list of the user.' CODEC(ZSTD(1)),
    generated_at      DateTime64(6, 'UTC')           COMMENT 'When it was computed, UTC.' CODEC(Delta, ZSTD(1)),
    expires_at        Nullable(DateTime64(6, 'UTC')) COMMENT 'When it should no longer be shown, UTC.' CODEC(ZSTD(1)),
    trigger           LowCardinality(String)         COMMENT 'event: a reaction to something the user did; request: asked for.',
    caused_topic      LowCardinality(String)         COMMENT 'Topic of the newest event the list reflects.',
    caused_partition  UInt16                         COMMENT 'Partition of that event.',
    caused_offset     Int64                          COMMENT 'Offset of that event.' CODEC(ZSTD(1)),
    caused_event_id   String                         COMMENT 'Id of that event; joins interactions.event_id.' CODEC(ZSTD(1)),
    caused_at         Nullable(DateTime64(6, 'UTC')) COMMENT 'When that event happened, UTC.' CODEC(ZSTD(1)),
    accepted_at       Nullable(DateTime64(6, 'UTC')) COMMENT 'When the log took the oldest event that no list had answered before. recorded_at - accepted_at is the freshness.' CODEC(ZSTD(1)),
    degraded          Array(LowCardinality(String))  COMMENT 'What was missing when it was made: vectors, friends or trending; empty when nothing was.',
    items             Nested(
        item_id String,
        rank    UInt16,
        score   Float64,
        reason  String,
        source  LowCardinality(String))              COMMENT 'The places of the list, arrays of one length: the recommended item, its rank from 1, its score, the reason shown, and the candidate generator (vectors, similar_users, friends, content, trending). The view recommended_items has a row for each.',
    log_topic         LowCardinality(String)         COMMENT 'Topic of the log the row was read from.',
    log_partition     UInt16                         COMMENT 'Partition of that topic.',
    log_offset        Int64                          COMMENT 'Offset in that partition.' CODEC(Delta, ZSTD(1)),
    recorded_at       DateTime64(3, 'UTC')           COMMENT 'When the log took the list, UTC. The time to live counts from here.' CODEC(Delta, ZSTD(1)),
    INDEX recommendation_id_index recommendation_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(generated_at)
ORDER BY (user_id, generated_at)
SETTINGS non_replicated_deduplication_window = 100000, enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'Every served list, one row each. Sorted by user and time; one partition per month of generated_at.';

CREATE TABLE IF NOT EXISTS recommendation_sums
(
    recommendation_id String                                             COMMENT 'The list.',
    lists             SimpleAggregateFunction(max, UInt8)                COMMENT '1 when the list was seen, 0 while only feedback to it was.',
    strategy          SimpleAggregateFunction(max, String)               COMMENT 'Of the list.',
    variant           SimpleAggregateFunction(max, String)               COMMENT 'Of the list.',
    trigger           SimpleAggregateFunction(max, String)               COMMENT 'Of the list.',
    served_at         SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'generated_at of the list.',
    items             SimpleAggregateFunction(max, UInt16)               COMMENT 'Its length.',
    degraded          SimpleAggregateFunction(max, UInt8)                COMMENT '1 when a store was down.',
    feedback_at       SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'Newest feedback.',
    impressions       SimpleAggregateFunction(sum, UInt64)               COMMENT 'Part of a sum.',
    clicks            SimpleAggregateFunction(sum, UInt64)               COMMENT 'Part of a sum.',
    conversions       SimpleAggregateFunction(sum, UInt64)               COMMENT 'Part of a sum.',
    refusals          SimpleAggregateFunction(sum, UInt64)               COMMENT 'Part of a sum.'
)
ENGINE = AggregatingMergeTree
ORDER BY recommendation_id
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Storage of the view recommendation_outcomes. A list and the feedback to it meet here by recommendation_id, in whatever order they come, without a look-up.';

CREATE MATERIALIZED VIEW IF NOT EXISTS recommendations_to_sums TO recommendation_sums AS
SELECT recommendation_id, toUInt8(1) AS lists, max(toString(strategy)) AS strategy, max(toString(variant)) AS variant,
       max(toString(trigger)) AS trigger, max(generated_at) AS served_at, max(toUInt16(length(items.item_id))) AS items,
       max(notEmpty(degraded)) AS degraded
FROM recommendations
GROUP BY recommendation_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_to_recommendation_sums TO recommendation_sums AS
SELECT recommendation_id, max(occurred_at) AS feedback_at, countIf(action = 'impression') AS impressions, countIf(action = 'click') AS clicks,
       countIf(action IN ('like', 'add_to_cart', 'purchase', 'watch')) AS conversions, countIf(action IN ('dislike', 'skip', 'hide')) AS refusals
FROM interactions
WHERE recommendation_id != ''
GROUP BY recommendation_id;

CREATE VIEW IF NOT EXISTS recommendation_outcomes
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
    conversions       UInt64              COMMENT 'Likes, additions to the cart, purchases and watches that name it.',
    refusals          UInt64              COMMENT 'Dislikes, skips and hides that name it.'
) AS
SELECT s.recommendation_id AS recommendation_id, max(s.lists) AS lists, if(max(s.lists) = 1, max(s.strategy), 'unknown') AS strategy,
       if(max(s.lists) = 1, max(s.variant), 'unknown') AS variant, max(s.trigger) AS trigger,
       toDate(if(max(s.lists) = 1, max(s.served_at), max(s.feedback_at))) AS day, max(s.served_at) AS served_at, max(s.items) AS items,
       max(s.degraded) AS degraded, sum(s.impressions) AS impressions, sum(s.clicks) AS clicks, sum(s.conversions) AS conversions, sum(s.refusals) AS refusals
FROM recommendation_sums AS s
GROUP BY s.recommendation_id
COMMENT 'What became of each served list. Holds no user; kept for good.';

CREATE VIEW IF NOT EXISTS strategy_days
(
    day                      Date    COMMENT 'Day the lists were served, UTC.',
    strategy                 String  COMMENT 'How they were made; unknown: feedback to lists that were never on the log.',
    variant                  String  COMMENT 'Variant of the experiment.',
    lists                    UInt64  COMMENT 'Lists served, each counted once.',
    lists_shown              UInt64  COMMENT 'Lists with at least one impression.',
    lists_clicked            UInt64  COMMENT 'Lists with at least one click.',
    impressions              UInt64  COMMENT 'Impressions of items of these lists, whenever they came.',
    clicks                   UInt64  COMMENT 'Clicks on items of these lists, whenever they came.',
    conversions              UInt64  COMMENT 'Likes, additions to the cart, purchases and watches that name these lists.',
    refusals                 UInt64  COMMENT 'Dislikes, skips and hides that name these lists.',
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
