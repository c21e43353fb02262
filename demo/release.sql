-- Move rows into the tables that the feature views read.
-- Parameter held_back: rows of this last interval of each table stay.

WITH released AS (
    DELETE FROM nycflights.staged_flights
    WHERE event_timestamp <= (SELECT max(event_timestamp) FROM nycflights.staged_flights) - %(held_back)s
    RETURNING *
)
INSERT INTO nycflights.flights
SELECT tailnum, carrier, flight, origin, dest, dep_delay, arr_delay, air_time, distance, event_timestamp
FROM released;

WITH released AS (
    DELETE FROM nycflights.staged_weather
    WHERE event_timestamp <= (SELECT max(event_timestamp) FROM nycflights.staged_weather) - %(held_back)s
    RETURNING *
)
INSERT INTO nycflights.weather
SELECT origin, temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib, event_timestamp
FROM released;
