-- Ground truth: every live prediction with its outcome, by id; and outcomes without a prediction (model is null).
-- Predictions and outcomes of earlier snapshots that are still without each other are left out: nothing has changed.
-- An `unmatched` row with an outcome has one that is too far away in the log to count, or not yet final.
SELECT * $EXCLUDE (prediction_id, outcome_id), coalesce(prediction_id, outcome_id) AS id
FROM (
    SELECT
        *,
        CASE
            WHEN log_time IS NULL OR outcome_log_time IS NULL THEN 'unmatched'$STATUS
            WHEN abs(outcome_log_time - log_time) > $LIFE AND (
                abs(outcome_log_time - log_time) > $CARRY
                OR greatest(outcome_log_time, log_time) + $LIFE >= $final_before
            ) THEN 'unmatched'$STATUS
            WHEN outcome_time < time THEN 'early'$STATUS
            WHEN abs(outcome_log_time - log_time) <= $LIFE AND outcome_time - time <= join_window THEN 'joined'$STATUS
            ELSE 'late'$STATUS
        END AS status
    FROM $joined
)
WHERE status <> 'unmatched' OR NOT coalesce(counted, true) OR NOT coalesce(outcome_known, true)
