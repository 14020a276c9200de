-- The dropped segment values as this run numbers them; part 0, the total, says that some were dropped at all.
SELECT series, part, log_hour
FROM dropped_segment JOIN series USING (model) JOIN (SELECT DISTINCT key, value, part FROM segment_of_text) USING (key, value)
UNION
SELECT series, 0, log_hour FROM dropped_segment JOIN series USING (model)
