-- Contributions under every part that they count for: 0, the total, and each segment that is kept.
SELECT *, 0::INT AS part, true AS is_declared FROM contribution
UNION ALL
SELECT contribution.*, part, declared
FROM contribution JOIN segment_of_text ON segment_of_text.segments = contribution.segments
ANTI JOIN dropped_part ON dropped_part.series = contribution.series AND dropped_part.log_hour = contribution.log_hour
    AND dropped_part.part = segment_of_text.part AND NOT declared
