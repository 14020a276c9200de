count(log_loss) AS scored, coalesce(sum(log_loss), 0) AS log_loss, coalesce(sum(brier), 0) AS brier,
        count(error) AS errors,
        coalesce(avg(error), 0) AS error_mean, coalesce(var_pop(error) * count(error), 0) AS error_m2,
        coalesce(avg(outcome), 0) AS outcome_mean, coalesce(var_pop(outcome) * count(outcome), 0) AS outcome_m2,
        coalesce(sum(abs(error)), 0) AS abs_error,
        count(*) FILTER (outcome <> 0) AS ape_n, coalesce(sum(if(outcome <> 0, abs(error / outcome), 0)), 0) AS ape,
        count(lower) AS intervals, count(*) FILTER (outcome BETWEEN lower AND upper) AS covered,
        coalesce(sum(upper - lower), 0) AS width
