-- Ids with more than one live head on a topic: their pairs are found one id at a time. A head is live if it is new or
-- still open.
SELECT id
FROM (
    SELECT id, log_partition, log_offset FROM head WHERE topic = '$topic' AND is_new
    UNION ALL
    SELECT id, log_partition, log_offset FROM head SEMI JOIN open_$topic USING (log_partition, log_offset)
    WHERE topic = '$topic' AND NOT is_new
)
GROUP BY id HAVING count(*) > 1
