-- +goose Up

-- What the table of actions says of the interaction. Rows from before have what the built-in actions
-- of then counted as.
ALTER TABLE interactions ADD COLUMN meaning TEXT NOT NULL DEFAULT '';
ALTER TABLE interactions ADD COLUMN outcome TEXT NOT NULL DEFAULT '';
UPDATE interactions SET outcome = CASE
    WHEN action = 'impression' THEN 'impression'
    WHEN action = 'click' THEN 'click'
    WHEN action IN ('like', 'add_to_cart', 'purchase', 'watch') THEN 'conversion'
    WHEN action IN ('dislike', 'skip', 'hide') THEN 'refusal'
    ELSE 'none' END;

DROP VIEW click_through_by_rank;
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
    SELECT recommendation_id, item_id, sum(outcome = 'impression') AS impressions,
        sum(outcome = 'click') AS clicks
    FROM interactions WHERE recommendation_id != '' GROUP BY recommendation_id, item_id
) AS f ON f.recommendation_id = p.recommendation_id AND f.item_id = p.item_id
GROUP BY p.strategy, p.variant, p.rank, p.source;
