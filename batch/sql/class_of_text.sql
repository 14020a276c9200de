-- The labels that each text of labels declares.
SELECT labels, unnest(from_json(labels, '["VARCHAR"]')) AS class
FROM (SELECT DISTINCT labels FROM ground_truth WHERE labels IS NOT NULL)
