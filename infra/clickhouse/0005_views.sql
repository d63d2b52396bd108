-- Ready answers for analysts. All of them are plain views: exact at the moment of the query.
--
-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS click_through
(
    strategy                  String            COMMENT 'How the lists were made.',
    variant                   String            COMMENT 'Variant of the experiment.',
    lists                     UInt64            COMMENT 'Lists served.',
    lists_shown               UInt64            COMMENT 'Lists with at least one impression.',
    lists_clicked             UInt64            COMMENT 'Lists with at least one click.',
    impressions               UInt64            COMMENT 'Impressions of their items.',
    clicks                    UInt64            COMMENT 'Clicks on their items.',
    conversions               UInt64            COMMENT 'Likes, additions to the cart, purchases and watches that name them.',
    refusals                  UInt64            COMMENT 'Dislikes, skips and hides that name them.',
    click_through_lists       Nullable(Float64) COMMENT 'lists_clicked / lists.',
    click_through_impressions Nullable(Float64) COMMENT 'clicks / impressions.'
) AS
SELECT d.strategy AS strategy, d.variant AS variant, sum(d.lists) AS lists, sum(d.lists_shown) AS lists_shown, sum(d.lists_clicked) AS lists_clicked,
       sum(d.impressions) AS impressions, sum(d.clicks) AS clicks, sum(d.conversions) AS conversions, sum(d.refusals) AS refusals,
       sum(d.lists_clicked) / nullIf(sum(d.lists), 0) AS click_through_lists, sum(d.clicks) / nullIf(sum(d.impressions), 0) AS click_through_impressions
FROM strategy_days AS d
GROUP BY d.strategy, d.variant
COMMENT 'Click-through per strategy and variant over all days; strategy_days has it by day.';

CREATE VIEW IF NOT EXISTS recommended_items
(
    recommendation_id String                 COMMENT 'The list.',
    user_id           String                 COMMENT 'Whom it was made for.',
    strategy          LowCardinality(String) COMMENT 'How it was made.',
    variant           LowCardinality(String) COMMENT 'Variant of the experiment.',
    generated_at      DateTime64(6, 'UTC')   COMMENT 'When it was computed, UTC.',
    item_id           String                 COMMENT 'The recommended item.',
    rank              UInt16                 COMMENT 'Its place, from 1.',
    score             Float64                COMMENT 'Its score within the list.',
    reason            String                 COMMENT 'The reason shown.',
    source            LowCardinality(String) COMMENT 'The candidate generator: vectors, similar_users, friends, content, trending.'
) AS
SELECT recommendation_id, user_id, strategy, variant, generated_at, i.item_id AS item_id, i.rank AS rank, i.score AS score, i.reason AS reason, i.source AS source
FROM recommendations
ARRAY JOIN items AS i
COMMENT 'The places of the served lists, one row each. Erased users are gone; rows live as long as those of recommendations.';

CREATE VIEW IF NOT EXISTS click_through_by_rank
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
    SELECT recommendation_id, item_id, countIf(action = 'impression') AS impressions, countIf(action = 'click') AS clicks
    FROM interactions
    WHERE recommendation_id != ''
    GROUP BY recommendation_id, item_id
) AS f ON f.recommendation_id = p.recommendation_id AND f.item_id = p.item_id
GROUP BY p.strategy, p.variant, p.rank, p.source
COMMENT 'Clicks per place of the list and candidate generator, from the raw rows that are still there.';

CREATE VIEW IF NOT EXISTS top_items
(
    item_id        String              COMMENT 'The item.',
    title          String              COMMENT 'Its title; empty when the catalog does not have it.',
    events         UInt64              COMMENT 'All interactions.',
    views          UInt64              COMMENT 'view',
    clicks         UInt64              COMMENT 'click',
    likes          UInt64              COMMENT 'like',
    dislikes       UInt64              COMMENT 'dislike',
    ratings        UInt64              COMMENT 'rate',
    mean_rating    Nullable(Float64)   COMMENT 'Mean value of the ratings; NULL when there are none.',
    cart_additions UInt64              COMMENT 'add_to_cart',
    purchases      UInt64              COMMENT 'purchase',
    watches        UInt64              COMMENT 'watch',
    skips          UInt64              COMMENT 'skip',
    hides          UInt64              COMMENT 'hide',
    impressions    UInt64              COMMENT 'impression',
    last_at        DateTime64(6, 'UTC') COMMENT 'The newest interaction, UTC.'
) AS
SELECT h.item_id AS item_id, any(i.title) AS title, sum(h.events) AS events,
       sumIf(h.events, h.action = 'view') AS views, sumIf(h.events, h.action = 'click') AS clicks, sumIf(h.events, h.action = 'like') AS likes,
       sumIf(h.events, h.action = 'dislike') AS dislikes, sumIf(h.events, h.action = 'rate') AS ratings,
       sumIf(h.value_sum, h.action = 'rate') / nullIf(sumIf(h.value_count, h.action = 'rate'), 0) AS mean_rating,
       sumIf(h.events, h.action = 'add_to_cart') AS cart_additions, sumIf(h.events, h.action = 'purchase') AS purchases,
       sumIf(h.events, h.action = 'watch') AS watches, sumIf(h.events, h.action = 'skip') AS skips, sumIf(h.events, h.action = 'hide') AS hides,
       sumIf(h.events, h.action = 'impression') AS impressions, max(h.last_at) AS last_at
FROM (
    SELECT s.item_id AS item_id, s.action AS action, sum(s.events) AS events, sum(s.value_count) AS value_count, sum(s.value_sum) AS value_sum, max(s.last_at) AS last_at
    FROM item_hour_sums AS s
    WHERE s.hour > toDateTime(0, 'UTC')
    GROUP BY s.item_id, s.action
) AS h
LEFT JOIN items AS i ON i.item_id = h.item_id
GROUP BY h.item_id
ORDER BY events - impressions DESC, item_id
COMMENT 'Totals per item over all time, most active first (impressions not counted). For a period, sum item_hours.';

CREATE VIEW IF NOT EXISTS user_activity
(
    user_id        String              COMMENT 'The user.',
    first_day      Date                COMMENT 'First day with an interaction, UTC.',
    last_at        DateTime64(6, 'UTC') COMMENT 'The newest interaction, UTC.',
    active_days    UInt64              COMMENT 'Days with an interaction.',
    events         UInt64              COMMENT 'All interactions.',
    views          UInt64              COMMENT 'view',
    clicks         UInt64              COMMENT 'click',
    likes          UInt64              COMMENT 'like',
    dislikes       UInt64              COMMENT 'dislike',
    ratings        UInt64              COMMENT 'rate',
    mean_rating    Nullable(Float64)   COMMENT 'Mean value of the ratings; NULL when there are none.',
    cart_additions UInt64              COMMENT 'add_to_cart',
    purchases      UInt64              COMMENT 'purchase',
    watches        UInt64              COMMENT 'watch',
    skips          UInt64              COMMENT 'skip',
    hides          UInt64              COMMENT 'hide',
    impressions    UInt64              COMMENT 'impression'
) AS
SELECT d.user_id AS user_id, min(d.day) AS first_day, max(d.last_at) AS last_at, uniqExact(d.day) AS active_days, sum(d.events) AS events,
       sumIf(d.events, d.action = 'view') AS views, sumIf(d.events, d.action = 'click') AS clicks, sumIf(d.events, d.action = 'like') AS likes,
       sumIf(d.events, d.action = 'dislike') AS dislikes, sumIf(d.events, d.action = 'rate') AS ratings,
       sumIf(d.value_sum, d.action = 'rate') / nullIf(sumIf(d.value_count, d.action = 'rate'), 0) AS mean_rating,
       sumIf(d.events, d.action = 'add_to_cart') AS cart_additions, sumIf(d.events, d.action = 'purchase') AS purchases,
       sumIf(d.events, d.action = 'watch') AS watches, sumIf(d.events, d.action = 'skip') AS skips, sumIf(d.events, d.action = 'hide') AS hides,
       sumIf(d.events, d.action = 'impression') AS impressions
FROM user_day_sums AS d
GROUP BY d.user_id
COMMENT 'Totals per user over all time.';

CREATE VIEW IF NOT EXISTS daily_activity
(
    day          Date   COMMENT 'The day, UTC.',
    active_users UInt64 COMMENT 'Users with an interaction other than an impression, exact.',
    events       UInt64 COMMENT 'All interactions.',
    impressions  UInt64 COMMENT 'impression',
    clicks       UInt64 COMMENT 'click',
    purchases    UInt64 COMMENT 'purchase'
) AS
SELECT d.day AS day, uniqExactIf(d.user_id, d.action != 'impression') AS active_users, sum(d.events) AS events,
       sumIf(d.events, d.action = 'impression') AS impressions, sumIf(d.events, d.action = 'click') AS clicks, sumIf(d.events, d.action = 'purchase') AS purchases
FROM user_day_sums AS d
GROUP BY d.day
COMMENT 'Users and interactions per day. Erased users are no longer counted.';

CREATE VIEW IF NOT EXISTS freshness
(
    day     Date    COMMENT 'Day the lists were served, UTC.',
    lists   UInt64  COMMENT 'Lists that answer an event.',
    p50_ms  Float64 COMMENT 'Median milliseconds from the log taking the event to the log taking the list.',
    p99_ms  Float64 COMMENT '99th percentile of the same.',
    max_ms  Float64 COMMENT 'The slowest.'
) AS
SELECT toDate(generated_at) AS day, count() AS lists,
       quantileExact(0.5)(dateDiff('millisecond', assumeNotNull(accepted_at), recorded_at)) AS p50_ms,
       quantileExact(0.99)(dateDiff('millisecond', assumeNotNull(accepted_at), recorded_at)) AS p99_ms,
       max(dateDiff('millisecond', assumeNotNull(accepted_at), recorded_at)) AS max_ms
FROM recommendations
WHERE trigger = 'event' AND accepted_at IS NOT NULL
GROUP BY day
COMMENT 'How soon after an event the list that answers it was published.';
