-- Ground truth of models that give no scores by class.
SELECT * $EXCLUDE (scores) FROM ($query)
