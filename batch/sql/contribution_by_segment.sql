-- Contributions under every key that they count for: the total ('', ''), and each segment that is kept.
SELECT * EXCLUDE (segments), '' AS segment_key, '' AS segment_value, true AS is_declared FROM contribution
$segmented
