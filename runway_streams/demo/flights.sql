-- One row a flight, in the order of scheduled departure. Times are UTC epoch milliseconds, durations minutes.
WITH clock AS (
    SELECT
        *,
        make_date(year, month, day) AS date,
        epoch_ms(time_hour) + minute * 60000 AS departure,
        -- `hour` is New York's and `time_hour` is UTC: they differ by 4 in summer time, else by 5.
        (hour - epoch_ms(time_hour) // 3600000 % 24 + 36) % 24 - 12 AS new_york_offset
    FROM flight_rows
),

landing AS (
    SELECT
        clock.*,
        -- Puerto Rico and the Virgin Islands are not in airports.csv: UTC-4, no summer time.
        coalesce(airport.tz, -4) + if(airport.dst = 'A' AND new_york_offset = -4, 1, 0) AS destination_offset
    FROM clock LEFT JOIN airport_rows AS airport ON airport.faa = clock.dest
),

schedule AS (
    SELECT
        *,
        -- `sched_arr_time` is HHMM where the flight lands. No flight takes a day, so the remainder is how long it takes.
        (sched_arr_time // 100 * 60 + sched_arr_time % 100
            - destination_offset * 60 - departure // 60000 % 1440 + 2880) % 1440 AS scheduled_minutes
    FROM landing
),

-- A row of weather.csv was taken within its hour (reports come at :51), so it is known when the hour is over.
weather AS (SELECT * RENAME (time_hour AS hour_taken) FROM weather_rows)

SELECT
    strftime(date, '%Y-%m-%d') || '-' || carrier || flight || '-' || schedule.origin AS flight_id,
    date,
    departure,
    arr_delay AS minutes_late,
    departure + (scheduled_minutes + arr_delay) * 60000 AS arrival,
    carrier,
    schedule.origin AS origin,
    dest AS destination,
    schedule.hour * 60 + minute AS departure_minute,
    isodow(date) AS weekday,
    distance,
    scheduled_minutes,
    epoch_ms(hour_taken) AS observed,
    temp AS temperature,
    round(wind_speed, 1) AS wind_speed,
    precip AS precipitation,
    visib AS visibility,
    pressure
FROM schedule
ASOF LEFT JOIN weather
    ON weather.origin = schedule.origin AND epoch_ms(hour_taken) + 3600000 <= departure
ORDER BY departure, flight_id
