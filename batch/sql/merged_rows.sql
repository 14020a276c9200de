-- Slim rows merged: five-minute bins to hours, or the files of a table to one. Moments merge by Chan, Golub and LeVeque
-- (1979), about the merged mean.
WITH part_row AS (SELECT * $EXCLUDE (bin), $floor AS bin FROM $source),
center AS (
    SELECT $key,
        sum(errors * error_mean) / greatest(sum(errors), 1) AS error_center,
        sum(errors * outcome_mean) / greatest(sum(errors), 1) AS outcome_center,
        sum(late_errors * late_error_mean) / greatest(sum(late_errors), 1) AS late_error_center,
        sum(late_errors * late_outcome_mean) / greatest(sum(late_errors), 1) AS late_outcome_center
    FROM part_row WHERE errors > 0 OR late_errors > 0
    GROUP BY ALL
)
SELECT $key,
    $merged,
    $merged_late,
    coalesce(any_value(error_center), 0) AS error_mean,
    sum(coalesce(error_m2 + errors * power(error_mean - error_center, 2), 0)) AS error_m2,
    coalesce(any_value(outcome_center), 0) AS outcome_mean,
    sum(coalesce(outcome_m2 + errors * power(outcome_mean - outcome_center, 2), 0)) AS outcome_m2,
    coalesce(any_value(late_error_center), 0) AS late_error_mean,
    sum(coalesce(late_error_m2 + late_errors * power(late_error_mean - late_error_center, 2), 0)) AS late_error_m2,
    coalesce(any_value(late_outcome_center), 0) AS late_outcome_mean,
    sum(coalesce(late_outcome_m2 + late_errors * power(late_outcome_mean - late_outcome_center, 2), 0)) AS late_outcome_m2,
    bool_or(partial) AS partial
FROM part_row LEFT JOIN center USING ($key)
GROUP BY ALL
