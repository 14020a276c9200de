-- The (model, version) pairs of this run as numbers, in their order: grouping and sorting by numbers is what makes it fast.
SELECT row_number() OVER (ORDER BY model, version)::INT AS series, dense_rank() OVER (ORDER BY model)::INT AS model_number,
    model, version
FROM (SELECT DISTINCT model, version FROM new_predictions UNION SELECT DISTINCT model, version FROM open_predictions)
