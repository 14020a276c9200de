-- Confusion cells merged: five-minute bins to hours, or the files of a table to one.
SELECT * REPLACE (sum(joined)::INT AS joined, sum(late)::INT AS late)
FROM (SELECT * REPLACE ($floor AS bin) FROM $source)
GROUP BY ALL
