-- +goose Up

-- Ranges of the log that were inserted: a repeated one is dropped. Written in the same transaction
-- as the rows and sums.
CREATE TABLE landed_ranges (
    log_id       TEXT    NOT NULL,
    topic        TEXT    NOT NULL,
    partition    INTEGER NOT NULL,
    first_offset INTEGER NOT NULL,
    last_offset  INTEGER NOT NULL,
    into_table   TEXT    NOT NULL,
    PRIMARY KEY (log_id, topic, partition, into_table, first_offset, last_offset)
) WITHOUT ROWID;

CREATE TABLE interactions (
    -- Every interaction, one row each, exactly once. Times are UTC, as text: 2026-11-22
    -- 12:00:00.000000.
    -- id of the event; together with source it identifies it. Without one from the sender:
    -- topic/partition/offset
    event_id          TEXT    NOT NULL,
    -- application that emitted the event; "log" when it did not say
    source            TEXT    NOT NULL,
    user_id           TEXT    NOT NULL, -- who did it
    item_id           TEXT    NOT NULL, -- the item it was done with
    -- view, click, like, dislike, rate, add_to_cart, purchase, watch, skip, hide or impression
    action            TEXT    NOT NULL,
    -- rate: 0.5 to 5; watch: fraction watched, 0 to 1; purchase: the price. NULL when there is none
    value             REAL,
    occurred_at       TEXT    NOT NULL, -- when it happened, as the application says
    session_id        TEXT    NOT NULL, -- session of the user, empty when unknown
    recommendation_id TEXT    NOT NULL, -- the served list that led to it, empty when none did
    -- further facts from the application, a JSON object: context ->> 'device'
    context           TEXT    NOT NULL,
    log_topic         TEXT    NOT NULL, -- topic of the log the row was read from
    log_partition     INTEGER NOT NULL, -- partition of that topic
    log_offset        INTEGER NOT NULL, -- offset in that partition
    recorded_at       TEXT    NOT NULL  -- append time of the event
);
CREATE INDEX interactions_event_id ON interactions (event_id);
CREATE INDEX interactions_user ON interactions (user_id, occurred_at);
CREATE INDEX interactions_recommendation ON interactions (recommendation_id)
WHERE recommendation_id != '';

CREATE TABLE item_hours (
    -- Interactions per item, action and hour: exact; kept when a user is erased.
    hour        TEXT    NOT NULL, -- start of the hour of occurred_at, UTC: 2026-11-22 12:00:00
    item_id     TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    events      INTEGER NOT NULL, -- how many interactions
    value_count INTEGER NOT NULL, -- how many of them have a value
    value_sum   REAL    NOT NULL, -- sum of the values: divide by value_count for the mean rating
    last_at     TEXT    NOT NULL, -- the newest of them
    PRIMARY KEY (hour, item_id, action)
) WITHOUT ROWID;

CREATE TABLE user_days (
    -- Interactions per user, action and day: exact. Kept until the user is erased.
    user_id     TEXT    NOT NULL,
    day         TEXT    NOT NULL, -- day of occurred_at, UTC: 2026-11-22
    action      TEXT    NOT NULL,
    events      INTEGER NOT NULL, -- how many interactions
    value_count INTEGER NOT NULL, -- how many of them have a value
    value_sum   REAL    NOT NULL, -- sum of the values
    last_at     TEXT    NOT NULL, -- the newest of them
    PRIMARY KEY (user_id, day, action)
) WITHOUT ROWID;

CREATE TABLE recommendations (
    -- Every served list, one row each.
    recommendation_id TEXT    NOT NULL, -- id of the list; interactions name it
    user_id           TEXT    NOT NULL, -- whom it was made for
    strategy          TEXT    NOT NULL, -- how it was made: personal, trending, …
    variant           TEXT    NOT NULL, -- variant of the experiment the user is in
    version           INTEGER NOT NULL, -- grows with each list of the user
    generated_at      TEXT    NOT NULL, -- when it was computed
    expires_at        TEXT,             -- when it should no longer be shown
    -- event: a reaction to something the user did; request: asked for
    "trigger"         TEXT    NOT NULL,
    caused_topic      TEXT    NOT NULL, -- topic of the newest event the list reflects
    caused_partition  INTEGER NOT NULL, -- partition of that event
    caused_offset     INTEGER NOT NULL, -- offset of that event
    caused_event_id   TEXT    NOT NULL, -- id of that event
    caused_at         TEXT,             -- when that event happened
    -- append time of the oldest event not answered by an earlier list
    accepted_at       TEXT,
    degraded          TEXT    NOT NULL, -- stores that were down when it was made, a JSON array
    -- the places, a JSON array; the view recommended_items has a row for each
    items             TEXT    NOT NULL,
    log_topic         TEXT    NOT NULL,
    log_partition     INTEGER NOT NULL,
    log_offset        INTEGER NOT NULL,
    -- append time of the list; minus accepted_at it is the freshness
    recorded_at       TEXT    NOT NULL
);
CREATE INDEX recommendations_user ON recommendations (user_id, generated_at);
CREATE INDEX recommendations_id ON recommendations (recommendation_id);

CREATE TABLE recommendation_sums (
    -- Sums of a list and its feedback, which may arrive in any order. Read the view
    -- recommendation_outcomes.
    recommendation_id TEXT PRIMARY KEY,
    lists       INTEGER NOT NULL,
    strategy    TEXT    NOT NULL,
    variant     TEXT    NOT NULL,
    "trigger"   TEXT    NOT NULL,
    served_at   TEXT    NOT NULL,
    items       INTEGER NOT NULL,
    degraded    INTEGER NOT NULL,
    feedback_at TEXT    NOT NULL,
    impressions INTEGER NOT NULL,
    clicks      INTEGER NOT NULL,
    conversions INTEGER NOT NULL,
    refusals    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE item_versions (
    -- The newest version of each item; read the view items.
    item_id       TEXT PRIMARY KEY,
    title         TEXT    NOT NULL,
    genres        TEXT    NOT NULL,
    actors        TEXT    NOT NULL,
    directors     TEXT    NOT NULL,
    tags          TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    published_at  TEXT,
    available     INTEGER NOT NULL,
    withdrawn     INTEGER NOT NULL,
    attributes    TEXT    NOT NULL,
    occurred_at   TEXT    NOT NULL,
    log_topic     TEXT    NOT NULL,
    log_partition INTEGER NOT NULL,
    log_offset    INTEGER NOT NULL,
    recorded_at   TEXT    NOT NULL
) WITHOUT ROWID;

CREATE VIEW items AS
-- The catalog, one row per item, as it is now; withdrawn items too. genres, actors, directors and
-- tags are JSON arrays, attributes is a JSON object.
SELECT item_id, title, genres, actors, directors, tags, description, published_at, available,
       withdrawn, attributes, occurred_at, recorded_at
FROM item_versions;

CREATE TABLE user_versions (
    -- The newest version of each user's attributes; read the view users.
    user_id       TEXT PRIMARY KEY,
    attributes    TEXT    NOT NULL,
    erased        INTEGER NOT NULL,
    occurred_at   TEXT    NOT NULL,
    log_topic     TEXT    NOT NULL,
    log_partition INTEGER NOT NULL,
    log_offset    INTEGER NOT NULL,
    recorded_at   TEXT    NOT NULL
) WITHOUT ROWID;

CREATE VIEW users AS
-- Users whose attributes are known, as they are now; attributes is a JSON object: attributes ->>
-- 'country'.
SELECT user_id, attributes, occurred_at, recorded_at FROM user_versions WHERE NOT erased;

CREATE TABLE dead_letter_rows (
    -- Each dead letter and each step of its resolution; read the view dead_letters.
    id              TEXT    NOT NULL, -- UUID derived from group, topic, partition, offset
    consumer_group  TEXT    NOT NULL,
    topic           TEXT    NOT NULL,
    partition       INTEGER NOT NULL,
    offset          INTEGER NOT NULL,
    -- permanent: the record is the cause; unknown: every attempt failed without a known cause
    class           TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    attempts        INTEGER NOT NULL,
    key             TEXT    NOT NULL, -- in hexadecimal after 0x where it is not UTF-8
    value           BLOB    NOT NULL, -- byte for byte
    state           TEXT    NOT NULL, -- open, replayed or dropped
    note            TEXT    NOT NULL, -- the reason given for a resolution
    first_failed_at TEXT    NOT NULL,
    last_failed_at  TEXT    NOT NULL,
    poison_offset   INTEGER NOT NULL,
    log_topic       TEXT    NOT NULL,
    log_partition   INTEGER NOT NULL,
    recorded_at     TEXT    NOT NULL
);
CREATE INDEX dead_letter_rows_id ON dead_letter_rows (id, recorded_at);
CREATE INDEX dead_letter_rows_key ON dead_letter_rows (key);

CREATE VIEW dead_letters AS
-- Dead letters, one row each, with their state.
SELECT id, consumer_group, topic, partition, offset, class, reason, attempts, key, value, state,
       note, first_failed_at, last_failed_at, poison_offset, recorded_at
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY id ORDER BY recorded_at DESC, poison_offset DESC, state = 'open'
    ) AS newest
    FROM dead_letter_rows
)
WHERE newest = 1;

CREATE TABLE progress_rows (
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    offset      INTEGER NOT NULL,
    occurred_at TEXT    NOT NULL,
    recorded_at TEXT    NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

CREATE VIEW completeness AS
-- Progress per partition of the log: every record up to offset is in these tables, with its sums.
SELECT topic, partition, offset, occurred_at, recorded_at FROM progress_rows;

CREATE VIEW recommendation_outcomes AS
-- What became of each served list. Holds no user.
SELECT recommendation_id, lists, CASE WHEN lists = 1 THEN strategy ELSE 'unknown' END AS strategy,
       CASE WHEN lists = 1 THEN variant ELSE 'unknown' END AS variant,
       "trigger", substr(CASE WHEN lists = 1 THEN served_at ELSE feedback_at END, 1, 10) AS day,
       served_at, items, degraded, impressions, clicks, conversions, refusals
FROM recommendation_sums;

CREATE VIEW strategy_days AS
-- Lists served, impressions, clicks and click-through per day, strategy and variant.
SELECT day, strategy, variant, sum(lists) AS lists, sum(impressions > 0) AS lists_shown,
       sum(clicks > 0) AS lists_clicked, sum(impressions) AS impressions,
       sum(clicks) AS clicks, sum(conversions) AS conversions, sum(refusals) AS refusals,
       1.0 * sum(clicks > 0) / nullif(sum(lists), 0) AS click_through_lists,
       1.0 * sum(clicks) / nullif(sum(impressions), 0) AS click_through_impressions
FROM recommendation_outcomes
GROUP BY day, strategy, variant;

CREATE VIEW click_through AS
-- Click-through per strategy and variant over all days.
SELECT strategy, variant, sum(lists) AS lists, sum(impressions > 0) AS lists_shown,
       sum(clicks > 0) AS lists_clicked, sum(impressions) AS impressions,
       sum(clicks) AS clicks, sum(conversions) AS conversions, sum(refusals) AS refusals,
       1.0 * sum(clicks > 0) / nullif(sum(lists), 0) AS click_through_lists,
       1.0 * sum(clicks) / nullif(sum(impressions), 0) AS click_through_impressions
FROM recommendation_outcomes
GROUP BY strategy, variant;

CREATE VIEW recommended_items AS
-- The places of the served lists, one row each.
SELECT r.recommendation_id, r.user_id, r.strategy, r.variant, r.generated_at,
       p.value ->> 'item_id' AS item_id, p.value ->> 'rank' AS rank,
       p.value ->> 'score' AS score, p.value ->> 'reason' AS reason, p.value ->> 'source' AS source
FROM recommendations AS r, json_each(r.items) AS p;

CREATE VIEW click_through_by_rank AS
-- Clicks per place of the list and candidate generator; a list counts once.
SELECT p.strategy, p.variant, p.rank, p.source, count(*) AS places,
       ifnull(sum(f.impressions), 0) AS impressions, ifnull(sum(f.clicks), 0) AS clicks,
       1.0 * sum(f.clicks) / nullif(sum(f.impressions), 0) AS click_through_impressions
FROM (
    SELECT DISTINCT recommendation_id, strategy, variant, item_id, rank, source
    FROM recommended_items
) AS p
LEFT JOIN (
    SELECT recommendation_id, item_id, sum(action = 'impression') AS impressions,
        sum(action = 'click') AS clicks
    FROM interactions WHERE recommendation_id != '' GROUP BY recommendation_id, item_id
) AS f ON f.recommendation_id = p.recommendation_id AND f.item_id = p.item_id
GROUP BY p.strategy, p.variant, p.rank, p.source;

CREATE VIEW top_items AS
-- Totals per item over all time, most active first (impressions not counted). For a period, sum
-- item_hours.
SELECT h.item_id, ifnull(i.title, '') AS title, sum(events) AS events,
       sum(iif(action = 'view', events, 0)) AS views,
       sum(iif(action = 'click', events, 0)) AS clicks,
       sum(iif(action = 'like', events, 0)) AS likes,
       sum(iif(action = 'dislike', events, 0)) AS dislikes,
       sum(iif(action = 'rate', events, 0)) AS ratings,
       sum(iif(action = 'rate', value_sum, 0))
           / nullif(sum(iif(action = 'rate', value_count, 0)), 0) AS mean_rating,
       sum(iif(action = 'add_to_cart', events, 0)) AS cart_additions,
       sum(iif(action = 'purchase', events, 0)) AS purchases,
       sum(iif(action = 'watch', events, 0)) AS watches,
       sum(iif(action = 'skip', events, 0)) AS skips, sum(iif(action = 'hide', events, 0)) AS hides,
       sum(iif(action = 'impression', events, 0)) AS impressions, max(last_at) AS last_at
FROM item_hours AS h LEFT JOIN item_versions AS i ON i.item_id = h.item_id
GROUP BY h.item_id
ORDER BY sum(iif(action = 'impression', 0, events)) DESC, h.item_id;

CREATE VIEW user_activity AS
-- Totals per user over all time.
SELECT user_id, min(day) AS first_day, max(last_at) AS last_at, count(DISTINCT day) AS active_days,
       sum(events) AS events,
       sum(iif(action = 'view', events, 0)) AS views,
       sum(iif(action = 'click', events, 0)) AS clicks,
       sum(iif(action = 'like', events, 0)) AS likes,
       sum(iif(action = 'dislike', events, 0)) AS dislikes,
       sum(iif(action = 'rate', events, 0)) AS ratings,
       sum(iif(action = 'rate', value_sum, 0))
           / nullif(sum(iif(action = 'rate', value_count, 0)), 0) AS mean_rating,
       sum(iif(action = 'add_to_cart', events, 0)) AS cart_additions,
       sum(iif(action = 'purchase', events, 0)) AS purchases,
       sum(iif(action = 'watch', events, 0)) AS watches,
       sum(iif(action = 'skip', events, 0)) AS skips, sum(iif(action = 'hide', events, 0)) AS hides,
       sum(iif(action = 'impression', events, 0)) AS impressions
FROM user_days GROUP BY user_id;

CREATE VIEW daily_activity AS
-- Users and interactions per day. Erased users are no longer counted.
SELECT day, count(DISTINCT iif(action = 'impression', NULL, user_id)) AS active_users,
       sum(events) AS events,
       sum(iif(action = 'impression', events, 0)) AS impressions,
       sum(iif(action = 'click', events, 0)) AS clicks,
       sum(iif(action = 'purchase', events, 0)) AS purchases
FROM user_days GROUP BY day;

CREATE VIEW freshness AS
-- How soon after an event the list that answers it was published, in milliseconds.
SELECT day, max(n) AS lists, max(iif(place = (n + 1) / 2, ms, NULL)) AS p50_ms,
       max(iif(place = max(1, (n * 99 + 99) / 100), ms, NULL)) AS p99_ms, max(ms) AS max_ms
FROM (
    SELECT day, ms, row_number() OVER (PARTITION BY day ORDER BY ms) AS place,
        count(*) OVER (PARTITION BY day) AS n
    FROM (SELECT substr(generated_at, 1, 10) AS day,
              round((julianday(recorded_at) - julianday(accepted_at)) * 86400000) AS ms
          FROM recommendations WHERE "trigger" = 'event' AND accepted_at IS NOT NULL)
)
GROUP BY day;
