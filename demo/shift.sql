-- Add the minute of a flight to its hour. Then move all rows by a whole number of days, so that they end now.

UPDATE nycflights.staged_flights SET event_timestamp = event_timestamp + make_interval(mins => minute);

DO $$
DECLARE
    days int;
BEGIN
    SELECT floor(extract(epoch FROM now() - max(event_timestamp)) / 86400) INTO days FROM nycflights.staged_flights;
    UPDATE nycflights.staged_flights SET event_timestamp = event_timestamp + make_interval(days => days);
    UPDATE nycflights.staged_weather SET event_timestamp = event_timestamp + make_interval(days => days);
END $$;

CREATE TABLE nycflights.flights (
    tailnum text, carrier text, flight int, origin text, dest text, dep_delay int, arr_delay int, air_time int,
    distance int, event_timestamp timestamptz NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE nycflights.weather (
    origin text NOT NULL, temp float8, dewp float8, humid float8, wind_dir int, wind_speed float8, wind_gust float8,
    precip float8, pressure float8, visib float8, event_timestamp timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON nycflights.flights (created_at);
CREATE INDEX ON nycflights.weather (created_at);
