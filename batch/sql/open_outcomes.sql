-- New outcomes that still wait for their prediction.
SELECT outcome_partition AS log_partition, outcome_offset AS log_offset, outcome_log_time AS log_time, id,
    outcome_time AS time, outcome_label AS label, outcome_value AS value
FROM ground_truth WHERE outcome_offset IS NOT NULL AND NOT outcome_known AND status = 'unmatched'
