-- Feedback to the lists of a user may stand in several partitions, and then several inserts add to
-- the sums of one list at a time. As in user_day_sums, each insert with feedback also writes a
-- witness row: a tab and "log:topic/partition" in recommendation_id, and the offset after its last
-- feedback, as microseconds, in feedback_at. No list has such an id: ids hold no control characters.
--
-- The view is renamed as in 0009, which restores its tokens.
--
-- +goose NO TRANSACTION
-- +goose Up
-- Where an earlier attempt was cut off.
RENAME TABLE IF EXISTS interactions_to_recommendation_sums_renamed TO interactions_to_recommendation_sums;

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
    conversions       UInt64              COMMENT 'Likes, additions to the cart, purchases and watches that name it.',
    refusals          UInt64              COMMENT 'Dislikes, skips and hides that name it.'
) AS
SELECT s.recommendation_id AS recommendation_id, max(s.lists) AS lists, if(max(s.lists) = 1, max(s.strategy), 'unknown') AS strategy,
       if(max(s.lists) = 1, max(s.variant), 'unknown') AS variant, max(s.trigger) AS trigger,
       toDate(if(max(s.lists) = 1, max(s.served_at), max(s.feedback_at))) AS day, max(s.served_at) AS served_at, max(s.items) AS items,
       max(s.degraded) AS degraded, sum(s.impressions) AS impressions, sum(s.clicks) AS clicks, sum(s.conversions) AS conversions, sum(s.refusals) AS refusals
FROM recommendation_sums AS s
WHERE NOT startsWith(s.recommendation_id, '\t')
GROUP BY s.recommendation_id
COMMENT 'What became of each served list. Holds no user; kept for good.';

ALTER TABLE interactions_to_recommendation_sums MODIFY QUERY
SELECT if(w, concat('\tlog:', g.topic, '/', toString(g.part)), g.list) AS recommendation_id,
       if(w, fromUnixTimestamp64Micro(g.newest, 'UTC'), g.at) AS feedback_at, if(w, 0, g.i) AS impressions, if(w, 0, g.c) AS clicks,
       if(w, 0, g.v) AS conversions, if(w, 0, g.f) AS refusals
FROM (
    SELECT recommendation_id AS list, max(occurred_at) AS at, countIf(action = 'impression') AS i, countIf(action = 'click') AS c,
           countIf(action IN ('like', 'add_to_cart', 'purchase', 'watch')) AS v, countIf(action IN ('dislike', 'skip', 'hide')) AS f,
           max(log_offset) + 1 AS newest, any(log_topic) AS topic, any(log_partition) AS part
    FROM interactions
    WHERE recommendation_id != ''
    GROUP BY list
) AS g
ARRAY JOIN [false, true] AS w;

RENAME TABLE interactions_to_recommendation_sums TO interactions_to_recommendation_sums_renamed,
    interactions_to_recommendation_sums_renamed TO interactions_to_recommendation_sums;
