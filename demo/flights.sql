-- Staged tables, as in the CSV files. Rows move from them into the tables that the feature views read.

DROP SCHEMA IF EXISTS nycflights CASCADE;
CREATE SCHEMA nycflights;

CREATE TABLE nycflights.staged_flights (
    year int, month int, day int, dep_time int, sched_dep_time int, dep_delay int, arr_time int, sched_arr_time int,
    arr_delay int, carrier text, flight int, tailnum text, origin text, dest text, air_time int, distance int,
    hour int, minute int, event_timestamp timestamptz
);
CREATE TABLE nycflights.staged_weather (
    origin text, year int, month int, day int, hour int, temp float8, dewp float8, humid float8, wind_dir int,
    wind_speed float8, wind_gust float8, precip float8, pressure float8, visib float8, event_timestamp timestamptz
);
