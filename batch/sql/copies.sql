-- One round over the records of ids that came more than once (`record`, those not decided yet): the first of each id is
-- a head, and its copies within LIFE are duplicates. What lies past LIFE is decided in the next round.
SELECT *, CASE
    WHEN row_number() OVER by_id = 1 THEN 'head'
    WHEN log_time - first_value(log_time) OVER by_id <= $LIFE THEN 'duplicate'
    ELSE 'undecided'
END AS verdict
FROM record
WINDOW by_id AS (PARTITION BY id ORDER BY log_time, log_partition, log_offset)
