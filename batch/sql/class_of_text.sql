-- The labels that each text of labels declares.
SELECT labels, $UNNEST(from_json(labels, $TEXTS)) AS class
FROM (SELECT DISTINCT labels FROM ground_truth WHERE labels IS NOT NULL)
