-- Confusion cells merged: five-minute bins to hours, or the files of a table to one.
SELECT $key, predicted, actual, sum(joined)::BIGINT AS joined, sum(late)::BIGINT AS late
FROM (SELECT * $EXCLUDE (bin), $floor AS bin FROM $source)
GROUP BY ALL
