-- Undeclared segment values beyond the bound of a model and log hour: the most frequent ones are kept.
SELECT model::STRING AS model, log_hour, key, value
FROM (
    SELECT model, log_hour, key, value, count(*) AS predictions
    FROM contribution JOIN segment_of_text USING (segments) JOIN series USING (series)
    WHERE NOT declared AND is_new
    GROUP BY ALL
)
QUALIFY row_number() OVER (PARTITION BY model, log_hour ORDER BY predictions DESC, key, value) > $MAX_SEGMENT_VALUES
