-- The records of ids whose hash came more than once on a topic: new ones, and earlier heads that they may be copies of.
SELECT id, log_time, log_partition, log_offset, is_new
FROM (
    SELECT id, log_time, log_partition, log_offset, true AS is_new FROM new_$topic
    UNION ALL
    SELECT id, log_time, log_partition, log_offset, false FROM earlier_$topic
)
WHERE $IS_REPEATED
