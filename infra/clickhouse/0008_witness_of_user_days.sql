-- What a user does may stand in several partitions, and then several inserts add to the sums of one
-- day at a time. So it can no longer be told by comparing rows with sums whether an interrupted
-- insert has reached the sums. As in item_hour_sums, each insert also writes a witness row, with day
-- 0: "log:topic/partition" in user_id and the offset after its last row, as microseconds, in last_at.
--
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW user_days
(
    user_id     String                 COMMENT 'The user.',
    day         Date                   COMMENT 'Day of occurred_at, UTC.',
    action      LowCardinality(String) COMMENT 'view, click, like, dislike, rate, add_to_cart, purchase, watch, skip, hide or impression.',
    events      UInt64                 COMMENT 'How many interactions.',
    value_count UInt64                 COMMENT 'How many of them have a value.',
    value_sum   Float64                COMMENT 'Sum of the values: divide by value_count for the mean rating.',
    last_at     DateTime64(6, 'UTC')   COMMENT 'The newest of them.'
) AS
SELECT s.user_id AS user_id, s.day AS day, s.action AS action, sum(s.events) AS events, sum(s.value_count) AS value_count,
       sum(s.value_sum) AS value_sum, max(s.last_at) AS last_at
FROM user_day_sums AS s
WHERE s.day > toDate(0)
GROUP BY s.user_id, s.day, s.action
COMMENT 'Interactions per user, action and day: exact. Kept until the user is erased.';

CREATE OR REPLACE VIEW user_activity
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
WHERE d.day > toDate(0)
GROUP BY d.user_id
COMMENT 'Totals per user over all time.';

CREATE OR REPLACE VIEW daily_activity
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
WHERE d.day > toDate(0)
GROUP BY d.day
COMMENT 'Users and interactions per day. Erased users are no longer counted.';

ALTER TABLE interactions_to_user_days MODIFY QUERY
SELECT if(w, concat('log:', g.topic, '/', toString(g.part)), g.person) AS user_id, if(w, toDate(0), g.d) AS day, if(w, '', toString(g.act)) AS action,
       if(w, 0, g.n) AS events, if(w, 0, g.vn) AS value_count, if(w, 0, g.v) AS value_sum, if(w, fromUnixTimestamp64Micro(g.newest, 'UTC'), g.at) AS last_at
FROM (
    SELECT user_id AS person, toDate(occurred_at) AS d, action AS act, count() AS n, count(value) AS vn, sum(ifNull(value, 0)) AS v, max(occurred_at) AS at,
           max(log_offset) + 1 AS newest, any(log_topic) AS topic, any(log_partition) AS part
    FROM interactions
    GROUP BY person, d, act
) AS g
ARRAY JOIN [false, true] AS w;
