count(*) AS errors,
        avg(error) AS error_mean, var_pop(error) * count(*) AS error_m2,
        avg(outcome) AS outcome_mean, var_pop(outcome) * count(*) AS outcome_m2,
        sum(abs(error)) AS abs_error,
        count(*) FILTER (WHERE outcome <> 0) AS ape_n, coalesce(sum(if(outcome <> 0, abs(error / outcome), 0)), 0) AS ape,
        count(lower) AS intervals, count(*) FILTER (WHERE outcome BETWEEN lower AND upper) AS covered,
        coalesce(sum(upper - lower), 0) AS width
