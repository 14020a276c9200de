-- What each row of ground truth adds to the metrics: flags as they are counted, losses and errors where there are any.
-- `bin` counts five minutes from the epoch, downwards before it.
SELECT
    series, segments, labels, task, label, score, scores, outcome_label, log_time,
    ($floor_bin $DIV $BIN)::INT AS bin,
    (log_time $DIV $HOUR)::INT AS log_hour,
    NOT counted AS is_new,
    status = 'joined' AS is_joined,
    status = 'late' AS is_late,
    status = 'early' AS is_early,
    status IN ('joined', 'late') AS is_labelled,
    CASE WHEN status IN ('joined', 'late') THEN outcome_time - time END AS delay,
    outcome_label = positive AS is_positive,
    CASE WHEN task IS NULL OR task = 'binary' THEN CASE WHEN outcome_label = positive THEN score ELSE 1 - score END
         WHEN task = 'multiclass' AND cardinality(scores) > 0 THEN coalesce(scores[outcome_label], 0)
    END AS truth,
    CASE WHEN task = 'multiclass' THEN $SUM_OF_SQUARES - 2 * truth + 1
         ELSE (1 - truth) * (1 - truth)
    END AS brier,
    CASE WHEN truth IS NOT NULL THEN -ln(greatest($CLIP, least(1 - $CLIP, truth))) END AS log_loss,
    value AS predicted_value,
    CASE WHEN task IS NULL OR task = 'regression' THEN value - outcome_value END AS error,
    CASE WHEN error IS NOT NULL THEN outcome_value END AS outcome,
    CASE WHEN error IS NOT NULL THEN lower END AS lower,
    CASE WHEN error IS NOT NULL THEN upper END AS upper
FROM ground_truth
WHERE model IS NOT NULL AND (NOT counted OR status <> 'unmatched')
