-- Histogram cells of several files merged.
SELECT * REPLACE (sum(joined) AS joined, sum(late) AS late)
FROM (SELECT * REPLACE ($floor AS bin) FROM $source)
GROUP BY ALL
