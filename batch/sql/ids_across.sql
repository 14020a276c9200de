-- Ids whose prediction and outcome were joined in different shares, and so found nobody; and a few that lie in different
-- partitions of one share and are too far apart in time.
SELECT DISTINCT prediction.id
FROM (
    SELECT id, log_partition FROM ground_truth_of_shares
    WHERE model IS NOT NULL AND status = 'unmatched' AND outcome_offset IS NULL
    UNION ALL
    SELECT id, log_partition FROM open_predictions
) AS prediction
JOIN (
    SELECT id, outcome_partition FROM ground_truth_of_shares WHERE model IS NULL
    UNION ALL
    SELECT id, log_partition FROM open_outcomes
) AS outcome ON prediction.id = outcome.id AND prediction.log_partition <> outcome.outcome_partition
