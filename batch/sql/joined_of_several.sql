-- The same of ids with several heads, whose pairs were found one id at a time.
(
    SELECT one.* $EXCLUDE (id, model, version), series.model, series.version, id AS prediction_id, series
    FROM (SELECT * FROM live_predictions SEMI JOIN id_of_several USING (id)) AS one
    JOIN series ON series.model = one.model AND series.version = one.version
) AS prediction
LEFT JOIN pair_of_several USING (log_partition, log_offset)
FULL JOIN (
    SELECT id AS outcome_id, log_partition AS outcome_partition, log_offset AS outcome_offset,
        log_time AS outcome_log_time, time AS outcome_time, label AS outcome_label, value AS outcome_value,
        known AS outcome_known
    FROM live_outcomes SEMI JOIN id_of_several USING (id)
) AS outcome USING (outcome_partition, outcome_offset)
