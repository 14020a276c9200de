-- Predictions and outcomes of earlier snapshots that have found each other now.
SELECT 'predictions' AS topic, log_partition, log_offset FROM ground_truth WHERE counted AND status <> 'unmatched'
UNION ALL
SELECT 'outcomes', outcome_partition, outcome_offset FROM ground_truth WHERE outcome_known AND status <> 'unmatched'
