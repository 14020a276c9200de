-- What each text of segments says: few texts stand for many predictions.
SELECT segments, one.key AS key, one.value AS value, one.declared AS declared,
    dense_rank() OVER (ORDER BY one.key, one.value)::INT AS part
FROM (
    SELECT segments, unnest(from_json(segments, '[{"key": "VARCHAR", "value": "VARCHAR", "declared": "BOOLEAN"}]')) AS one
    FROM (SELECT DISTINCT segments FROM ground_truth WHERE segments IS NOT NULL)
)
