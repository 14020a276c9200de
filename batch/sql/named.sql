-- Rows as they are published: numbers are names and times again.
SELECT model, version, key AS segment_key, value AS segment_value, bin::BIGINT * $BIN AS bin, log_hour::BIGINT AS log_hour,
    $columns
FROM $table AS one JOIN series USING (series) JOIN part USING (part)
ORDER BY model_number, part, series, one.bin, one.log_hour
