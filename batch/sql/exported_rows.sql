-- One row a prediction: what the newest snapshot that has it says, and what its segment kept beside.
-- A row with an outcome that counts replaces the `unmatched` one of an earlier snapshot.
WITH newest AS (
    SELECT * FROM wanted
    QUALIFY row_number() OVER (PARTITION BY log_partition, log_offset ORDER BY status = 'unmatched', counted DESC) = 1
)
SELECT id AS prediction_id, model AS model_id, version AS model_version,
    make_timestamptz(time * 1000) AS prediction_time,
    label AS predicted_label, score, scores, value AS predicted_value, lower, upper, level,
    map_from_entries(list_transform(
        from_json(segments, '[{"key": "VARCHAR", "value": "VARCHAR"}]'), lambda s: {'k': s.key, 'v': s.value}
    )) AS segment,
    entity_id, features, feature_timestamps,
    status,
    CASE WHEN status <> 'unmatched' THEN make_timestamptz(outcome_time * 1000) END AS outcome_time,
    CASE WHEN status <> 'unmatched' THEN outcome_label END AS actual_label,
    CASE WHEN status <> 'unmatched' THEN outcome_value END AS actual_value,
    make_timestamptz(log_time * 1000) AS prediction_log_time,
    CASE WHEN status <> 'unmatched' THEN make_timestamptz(outcome_log_time * 1000) END AS outcome_log_time
FROM newest
LEFT JOIN (SELECT log_partition, log_offset, level, entity_id, features, feature_timestamps FROM kept_beside) USING (log_partition, log_offset)
ORDER BY prediction_time, prediction_id
