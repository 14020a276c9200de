-- Cells of the full tier's families that are not 0: score by class, calibration, and one label against the rest.
WITH scored AS (
    SELECT series, part, $hour AS hour, log_hour, score, is_positive, is_joined, is_late
    FROM $contribution
    WHERE is_labelled AND is_declared AND (task IS NULL OR task = 'binary') AND score IS NOT NULL
),
several AS (
    SELECT series, part, $hour AS hour, log_hour, scores, label, labels, outcome_label, is_joined, is_late
    FROM $contribution
    WHERE is_labelled AND is_declared AND task = 'multiclass' AND cardinality(scores) > 0
),
judged AS (
    -- Calibration: of the positive class, or with many classes of the one that was predicted.
    SELECT series, part, hour, log_hour, score AS confidence, is_positive AS is_right, is_joined, is_late FROM scored
    UNION ALL
    SELECT series, part, hour, log_hour, scores[label], label = outcome_label, is_joined, is_late
    FROM several WHERE scores[label] IS NOT NULL
),
calibrated AS (
    SELECT series, part, hour, log_hour,
        least(floor(confidence * $CALIBRATION_BINS), $CALIBRATION_BINS - 1)::INT AS tenth,
        count_if(is_joined)::DOUBLE AS joined, count_if(is_late)::DOUBLE AS late,
        sum(if(is_joined, confidence, 0)) AS joined_scores, sum(if(is_late, confidence, 0)) AS late_scores,
        count_if(is_right AND is_joined)::DOUBLE AS joined_right, count_if(is_right AND is_late)::DOUBLE AS late_right
    FROM judged
    GROUP BY ALL
)
SELECT series, part, hour AS bin, log_hour, 'score_class' AS family, cell,
    joined::DOUBLE AS joined, late::DOUBLE AS late
FROM (
    SELECT series, part, hour, log_hour,
        (least(floor(score * $SCORE_BINS), $SCORE_BINS - 1) + if(is_positive, $SCORE_BINS, 0))::INT AS cell,
        count_if(is_joined)::INT AS joined, count_if(is_late)::INT AS late
    FROM scored
    GROUP BY ALL
)
UNION ALL
SELECT series, part, hour, log_hour, 'calibration', 3 * tenth + i,
    CASE i WHEN 0 THEN joined WHEN 1 THEN joined_scores ELSE joined_right END,
    CASE i WHEN 0 THEN late WHEN 1 THEN late_scores ELSE late_right END
FROM calibrated, (VALUES (0), (1), (2)) AS third(i)
WHERE CASE i WHEN 0 THEN joined + late WHEN 1 THEN joined_scores + late_scores ELSE joined_right + late_right END > 0
UNION ALL
SELECT series, part, hour, log_hour, 'class:' || class,
    (least(floor(coalesce(scores[class], 0) * $CLASS_BINS), $CLASS_BINS - 1) + if(outcome_label = class, $CLASS_BINS, 0))::INT,
    count_if(is_joined)::DOUBLE, count_if(is_late)::DOUBLE
FROM several JOIN class_of_text USING (labels)
GROUP BY ALL
