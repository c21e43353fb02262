-- What the repository's views read.
CREATE TABLE trips AS
SELECT i % 20 AS driver_id,
       timestamptz '2026-01-01 00:00:00.5Z' + i * interval '7 minutes' AS event_timestamp,
       timestamptz '2026-01-02 00:00Z' + i * interval '1 second' AS created,
       i AS trip_count,
       (i % 11) / 2.0::float8 AS rating,
       timestamp '2026-01-01 10:00' + i * interval '1 second' AS started,
       '00000000-0000-0000-0000-0000000000' || lpad(i::text, 2, '0') AS device,
       json_build_object('volume', i)::text AS settings,
       i % 2 = 1 AS is_deleted
FROM generate_series(1, 99) i;

-- Equal event timestamps: the row that was created last is the newest.
INSERT INTO trips
SELECT driver_id, event_timestamp, created + interval '1 hour', -trip_count, rating, started, device, settings,
       is_deleted
FROM trips
WHERE trip_count > 90;

CREATE TABLE "Visits" AS
SELECT 's' || i % 3 AS shop,
       'c' || i % 5 AS customer_id,
       timestamp '2026-01-01 10:00' + i * interval '1 minute' AS at,
       i::bigint AS "Visits",
       ARRAY['a', i::text] AS tags
FROM generate_series(1, 40) i;
