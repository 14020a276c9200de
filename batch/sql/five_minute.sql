-- Rows of the slim tier: counts of all, the quality of the joined and, apart, of the late.
-- Delays are counted up to each edge: a comparison each, where the number of a bin would be a search for every row.
WITH counted AS (
    SELECT series, part, bin, log_hour,
        count_if(is_new)::INT AS predictions,
        count_if(is_joined)::INT AS joined,
        count_if(is_late)::INT AS late,
        count_if(is_early)::INT AS early,
        $counts_up_to,
        count(log_loss) AS scored, coalesce(sum(log_loss), 0) AS log_loss, coalesce(sum(brier), 0) AS brier,
        count(late_log_loss) AS late_scored,
        coalesce(sum(late_log_loss), 0) AS late_log_loss, coalesce(sum(late_brier), 0) AS late_brier
    FROM (
        SELECT series, part, bin, log_hour, is_new, is_joined, is_late, is_early, delay,
            if(is_joined, log_loss, NULL) AS log_loss, if(is_joined, brier, NULL) AS brier,
            if(is_late, log_loss, NULL) AS late_log_loss, if(is_late, brier, NULL) AS late_brier
        FROM $contribution
    )
    GROUP BY ALL
),
-- Few models have errors, and the moments are most of the aggregates.
erring AS (
    SELECT series, part, bin, log_hour, is_late, $errors
    FROM $contribution WHERE is_labelled AND predicted_value IS NOT NULL AND error IS NOT NULL
    GROUP BY ALL
)
SELECT series, part, bin, log_hour, predictions, joined, late, early,
    $delay_counts,
    scored, log_loss, brier, $error_columns,
    late_scored, late_log_loss, late_brier, $late_error_columns,
    part = 0 AND partial.series IS NOT NULL AS partial
FROM counted
LEFT JOIN (SELECT * FROM erring WHERE NOT is_late) AS joined_errors USING (series, part, bin, log_hour)
LEFT JOIN (SELECT * FROM erring WHERE is_late) AS late_errors USING (series, part, bin, log_hour)
LEFT JOIN (SELECT series, log_hour FROM dropped_part WHERE part = 0) AS partial USING (series, log_hour)
