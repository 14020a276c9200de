-- New predictions that still wait for their outcome.
SELECT $columns FROM ground_truth WHERE model IS NOT NULL AND NOT counted AND status = 'unmatched'
