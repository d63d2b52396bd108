-- +goose Up

-- A resolution (replayed, dropped) is a row that says nothing of the dead letter itself. The state
-- is that of the newest row, and the rest that of the newest failure.
DROP VIEW dead_letters;

CREATE VIEW dead_letters AS
-- Dead letters, one row each, with their state.
SELECT s.id, s.consumer_group, coalesce(l.topic, s.topic) AS topic,
       coalesce(l.partition, s.partition) AS partition, coalesce(l.offset, s.offset) AS offset,
       coalesce(l.class, s.class) AS class, coalesce(l.reason, s.reason) AS reason,
       coalesce(l.attempts, s.attempts) AS attempts, coalesce(l.key, s.key) AS key,
       coalesce(l.value, s.value) AS value, -- as it failed last
       -- as it failed first: another one where a corrected replay failed, too
       coalesce(f.value, s.value) AS original_value,
       s.state, s.note, coalesce(l.first_failed_at, s.first_failed_at) AS first_failed_at,
       coalesce(l.last_failed_at, s.last_failed_at) AS last_failed_at,
       coalesce(l.poison_offset, s.poison_offset) AS poison_offset, s.recorded_at
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY id ORDER BY recorded_at DESC, poison_offset DESC, state = 'open'
    ) AS newest
    FROM dead_letter_rows
) AS s
LEFT JOIN (
    SELECT *, row_number() OVER (
        PARTITION BY id ORDER BY recorded_at DESC, poison_offset DESC
    ) AS newest
    FROM dead_letter_rows WHERE state = 'open'
) AS l ON l.id = s.id AND l.newest = 1
LEFT JOIN (
    SELECT id, value, row_number() OVER (
        PARTITION BY id ORDER BY recorded_at, poison_offset
    ) AS oldest
    FROM dead_letter_rows WHERE state = 'open'
) AS f ON f.id = s.id AND f.oldest = 1
WHERE s.newest = 1;
