-- What the next round over the repeated records has to decide.
SELECT * $EXCLUDE (verdict) FROM decided WHERE verdict = 'undecided'
