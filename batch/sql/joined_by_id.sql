-- The live predictions and outcomes of a share of the ids with at most one of each.
(
    SELECT one.* $EXCLUDE (id, model, version), series.model, series.version, id AS prediction_id, series
    FROM single_predictions AS one JOIN series ON series.model = one.model AND series.version = one.version
    WHERE $share
) AS prediction
FULL JOIN (
    SELECT id AS outcome_id, log_partition AS outcome_partition, log_offset AS outcome_offset,
        log_time AS outcome_log_time, time AS outcome_time, label AS outcome_label, value AS outcome_value,
        known AS outcome_known
    FROM single_outcomes
    WHERE $share
) AS outcome ON prediction_id = outcome_id
