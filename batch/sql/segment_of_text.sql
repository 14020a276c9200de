-- What each text of segments says: few texts stand for many predictions.
SELECT segments, one.key AS key, one.value AS value, one.declared AS declared,
    dense_rank() OVER (ORDER BY one.key, one.value)::INT AS part
FROM (
    SELECT segments, $UNNEST(from_json(segments, $SEGMENTS)) AS one
    FROM (SELECT DISTINCT segments FROM ground_truth WHERE segments IS NOT NULL)
)
