-- The series of the new predictions: their task, and the first and the last event time, to five minutes. Of a model's
-- series the one seen last comes last.
SELECT model::STRING, version::STRING, task, first, last
FROM (
    SELECT series, min(bin)::BIGINT * $BIN AS first, max(bin)::BIGINT * $BIN AS last
    FROM five_minute WHERE part = 0 AND predictions > 0
    GROUP BY series
)
JOIN (
    SELECT series, max_by(coalesce(task, ''), log_time) AS task, max(log_time) AS seen
    FROM contribution WHERE is_new
    GROUP BY series
) USING (series)
JOIN series USING (series)
ORDER BY model, seen, version
