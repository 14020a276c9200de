-- Cells of confusion matrices; label pairs beyond the bound of a bin are counted together under `__other__`.
WITH cell AS (
    SELECT series, part, bin, log_hour, label AS predicted, outcome_label AS actual,
        count_if(is_joined)::INT AS joined, count_if(is_late)::INT AS late
    FROM $contribution
    WHERE is_labelled AND label IS NOT NULL AND task IS DISTINCT FROM 'regression'
    GROUP BY ALL
),
crowded AS (
    SELECT series, part, bin, log_hour FROM cell GROUP BY ALL HAVING count(*) > $MAX_PAIRS
),
ranked AS (
    SELECT *, row_number() OVER (
        PARTITION BY series, part, bin, log_hour ORDER BY joined + late DESC, predicted, actual
    ) > $MAX_PAIRS AS is_other
    FROM cell SEMI JOIN crowded USING (series, part, bin, log_hour)
)
SELECT * FROM cell ANTI JOIN crowded USING (series, part, bin, log_hour)
UNION ALL
SELECT series, part, bin, log_hour,
    if(is_other, '$OTHER', predicted) AS predicted, if(is_other, '$OTHER', actual) AS actual, sum(joined)::INT, sum(late)::INT
FROM ranked
GROUP BY ALL
