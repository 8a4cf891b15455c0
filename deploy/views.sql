-- Views over the segments of an archive, for DuckDB 1.3 or later.
--
--     duckdb -cmd "SET VARIABLE archive = 'data/archive'" -init views.sql
--
-- archive is the directory of the archive, or of a copy of its l1 and manifest. What
-- is not compacted yet is not in it: millrace archive query and export have it.

-- What the manifests say. Files that they do not name do not count: another
-- compactor's, or what retention took away.
CREATE OR REPLACE VIEW segments AS
WITH commits AS (
    SELECT chain, version, segment, retention
    FROM read_json(getvariable('archive') || '/manifest/*/*/*/*.json', columns = {
        chain: 'VARCHAR', version: 'UBIGINT',
        segment: 'STRUCT("key" VARCHAR, "day" DATE, "first" UBIGINT, "last" UBIGINT, messages UBIGINT, "rows" UBIGINT, bytes BIGINT, sha256 VARCHAR, event_from BIGINT, event_to BIGINT)',
        retention: 'STRUCT(condemned STRUCT("key" VARCHAR)[], spared VARCHAR[])'
    })
),
verdicts AS (
    SELECT version, unnest(retention.condemned)."key" AS "key", true AS condemned FROM commits
    UNION ALL
    SELECT version, unnest(retention.spared), false FROM commits
)
SELECT chain, split_part(chain, '/', 1) AS class, split_part(chain, '/', 2) AS stream, split_part(chain, '/', 3) AS epoch, segment.*
FROM commits
WHERE segment IS NOT NULL
  AND NOT coalesce((SELECT arg_max(v.condemned, v.version) FROM verdicts v WHERE v."key" = segment."key"), false);

-- Every event. payload is what its service sent, as JSON; dt the UTC day of arrival,
-- by which DuckDB leaves out whole files.
CREATE OR REPLACE VIEW events AS
SELECT s.class, e.stream, s.epoch, e.sequence, e."index", e.event_time, e.arrival, e.dt, e.kind, e.service, e.level,
       e."user", e.resource, e.action, e.trace_id, e.lane, decode(e.payload)::JSON AS payload
FROM read_parquet(getvariable('archive') || '/l1/*/*/*/dt=*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = true, hive_types = {dt: 'DATE'}) e
JOIN segments s ON e.filename = getvariable('archive') || '/' || s."key"
WHERE e.kind IN ('log', 'metric', 'audit');

CREATE OR REPLACE VIEW logs AS
SELECT event_time, service, level, payload->>'logger' AS logger, payload->>'message' AS message, payload->'error' AS error,
       payload->'attributes' AS attributes, trace_id, payload->>'span_id' AS span_id, payload->>'instance' AS instance,
       stream, sequence, "index", arrival, dt
FROM events WHERE kind = 'log';

CREATE OR REPLACE VIEW metrics AS
SELECT event_time, service, payload->>'name' AS name, payload->>'type' AS type, (payload->>'value')::DOUBLE AS value,
       payload->>'unit' AS unit, payload->'attributes' AS attributes, payload->>'instance' AS instance,
       stream, sequence, "index", arrival, dt
FROM events WHERE kind = 'metric';

CREATE OR REPLACE VIEW audit AS
SELECT event_time, service, "user", action, resource, (payload->>'success')::BOOLEAN AS success, payload->'details' AS details,
       stream, sequence, "index", arrival, dt
FROM events WHERE kind = 'audit';
