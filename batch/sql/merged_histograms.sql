-- Histogram cells of several files merged.
SELECT $key, family, cell, sum(joined) AS joined, sum(late) AS late
FROM $source
GROUP BY ALL
