-- A resolution (replayed, dropped) is a row that says nothing of the dead letter itself: it emptied
-- the dead letter in the view. Now the state is that of the newest row, and the rest that of the
-- newest failure. The value that failed first stays readable where a corrected one failed again.
--
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW dead_letters
(
    id              String                 COMMENT 'UUID of the dead letter, derived from group, topic, partition and offset of the record.',
    consumer_group  LowCardinality(String) COMMENT 'The processor that could not process it.',
    topic           LowCardinality(String) COMMENT 'Its topic.',
    partition       UInt16                 COMMENT 'Its partition.',
    offset          Int64                  COMMENT 'Its offset.',
    class           LowCardinality(String) COMMENT 'permanent: the record is invalid; unknown: it failed at every attempt.',
    reason          String                 COMMENT 'Why, for a person.',
    attempts        UInt32                 COMMENT 'How often it was tried.',
    key             String                 COMMENT 'The record''s key, in hexadecimal after 0x where it is not UTF-8.',
    value           String                 COMMENT 'The record''s value, byte for byte, as it failed last.',
    original_value  String                 COMMENT 'Its value as it failed first: another one where a corrected replay failed, too.',
    state           LowCardinality(String) COMMENT 'open, replayed or dropped.',
    note            String                 COMMENT 'The reason given for the resolution.',
    first_failed_at DateTime64(3, 'UTC')   COMMENT 'First failure, UTC.',
    last_failed_at  DateTime64(3, 'UTC')   COMMENT 'Last failure, UTC.',
    poison_offset   Int64                  COMMENT 'Offset in the topic <group>.poison.',
    recorded_at     DateTime64(3, 'UTC')   COMMENT 'When the newest state was written, UTC.'
) AS
SELECT r.id AS id,
       argMax(r.consumer_group, (r.recorded_at, r.poison_offset)) AS consumer_group,
       argMaxIf(r.topic, (r.recorded_at, r.poison_offset), r.state = 'open') AS topic,
       argMaxIf(r.partition, (r.recorded_at, r.poison_offset), r.state = 'open') AS partition,
       argMaxIf(r.offset, (r.recorded_at, r.poison_offset), r.state = 'open') AS offset,
       argMaxIf(r.class, (r.recorded_at, r.poison_offset), r.state = 'open') AS class,
       argMaxIf(r.reason, (r.recorded_at, r.poison_offset), r.state = 'open') AS reason,
       argMaxIf(r.attempts, (r.recorded_at, r.poison_offset), r.state = 'open') AS attempts,
       argMax(r.key, (r.state = 'open', r.recorded_at, r.poison_offset)) AS key,
       argMaxIf(r.value, (r.recorded_at, r.poison_offset), r.state = 'open') AS value,
       argMinIf(r.value, (r.recorded_at, r.poison_offset), r.state = 'open') AS original_value,
       argMax(r.state, (r.recorded_at, r.poison_offset, r.state != 'open')) AS state,
       argMax(r.note, (r.recorded_at, r.poison_offset, r.state != 'open')) AS note,
       argMaxIf(r.first_failed_at, (r.recorded_at, r.poison_offset), r.state = 'open') AS first_failed_at,
       argMaxIf(r.last_failed_at, (r.recorded_at, r.poison_offset), r.state = 'open') AS last_failed_at,
       argMaxIf(r.poison_offset, (r.recorded_at, r.poison_offset), r.state = 'open') AS poison_offset,
       max(r.recorded_at) AS recorded_at
FROM dead_letter_rows AS r
GROUP BY r.id
COMMENT 'Dead letters, one row each, with their newest state.';
