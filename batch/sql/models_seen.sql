-- The models of the new predictions, their versions, and the first and the last event time, to five minutes.
SELECT model, task, versions, first, last
FROM (
    SELECT model, list_sort(list(DISTINCT version)) AS versions, min(bin)::BIGINT * $BIN AS first, max(bin)::BIGINT * $BIN AS last
    FROM five_minute JOIN series USING (series) WHERE part = 0 AND predictions > 0
    GROUP BY model
)
JOIN (
    SELECT model, arg_max(task, log_time) AS task
    FROM (SELECT series, max_by(coalesce(task, ''), log_time) AS task, max(log_time) AS log_time FROM contribution WHERE is_new GROUP BY series)
    JOIN series USING (series) GROUP BY model
) USING (model)
ORDER BY model
