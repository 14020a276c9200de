-- Rows of the slim tier: counts of all, the quality of the joined and, apart, of the late.
WITH joined AS (
    SELECT series, part, bin, log_hour,
        count_if(is_new)::INT AS predictions,
        count_if(is_joined)::INT AS joined,
        count_if(is_late)::INT AS late,
        count_if(is_early)::INT AS early,
        $delay_counts,
        $quality
    FROM (
        SELECT series, part, bin, log_hour, is_new, is_joined, is_late, is_early, delay_bin,
            if(is_joined, log_loss, NULL) AS log_loss, if(is_joined, brier, NULL) AS brier,
            if(is_joined, error, NULL) AS error, if(is_joined, outcome, NULL) AS outcome,
            if(is_joined, lower, NULL) AS lower, if(is_joined, upper, NULL) AS upper
        FROM $contribution
    )
    GROUP BY ALL
),
late AS (
    SELECT series, part, bin, log_hour, $quality
    FROM $contribution WHERE is_late GROUP BY ALL
)
SELECT joined.*, $late_columns, part = 0 AND partial.series IS NOT NULL AS partial
FROM joined
LEFT JOIN late USING (series, part, bin, log_hour)
LEFT JOIN (SELECT series, log_hour FROM dropped_part WHERE part = 0) AS partial USING (series, log_hour)
