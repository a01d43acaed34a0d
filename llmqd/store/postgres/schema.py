"""The PostgreSQL tables, as numbered migrations. What their columns mean is said in `store.schema`."""

from __future__ import annotations

import re

_TABLES = """
-- What SQLite calls so of two values.
CREATE FUNCTION min(anycompatible, anycompatible) RETURNS anycompatible LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT least($1, $2)';
CREATE FUNCTION max(anycompatible, anycompatible) RETURNS anycompatible LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT greatest($1, $2)';

-- The sum of two histograms: the numbers of buckets, a byte each, then as many counts of four bytes (little-endian).
CREATE FUNCTION add_histograms(one bytea, other bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF length(one) = 0 THEN RETURN other; END IF;
    IF length(other) = 0 THEN RETURN one; END IF;
    RETURN (
        SELECT string_agg(set_byte('\\x00'::bytea, 0, bucket), NULL ORDER BY bucket)
            || string_agg(
                set_byte(set_byte(set_byte(set_byte('\\x00000000'::bytea,
                    0, (count & 255)::int), 1, (count >> 8 & 255)::int), 2, (count >> 16 & 255)::int),
                    3, (count >> 24 & 255)::int), NULL ORDER BY bucket)
        FROM (
            SELECT bucket, least(sum(count), 4294967295)::bigint AS count
            FROM (
                SELECT get_byte(data, at) AS bucket,
                    get_byte(data, used + 4 * at)::bigint + (get_byte(data, used + 4 * at + 1)::bigint << 8)
                    + (get_byte(data, used + 4 * at + 2)::bigint << 16)
                    + (get_byte(data, used + 4 * at + 3)::bigint << 24) AS count
                FROM (VALUES (one), (other)) AS both_of (data),
                    LATERAL (SELECT length(data) / 5 AS used) AS size,
                    LATERAL generate_series(0, used - 1) AS at
            ) AS counts
            GROUP BY bucket
        ) AS sums
    );
END $$;

-- How far the journal of each daemon has been applied, the run that it tells of, and other things to remember.
CREATE TABLE meta (
    key text COLLATE "C" PRIMARY KEY,
    value text COLLATE "C" NOT NULL
);

-- Cut by time, as are texts and words: what is too old goes by whole partitions.
CREATE TABLE calls (
    id text COLLATE "C" NOT NULL,
    received_at double precision NOT NULL,
    method text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    dialect text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    upstream text COLLATE "C" NOT NULL,
    model text COLLATE "C",
    stream bigint NOT NULL,
    priority bigint NOT NULL,
    max_wait double precision,
    no_queue bigint NOT NULL,
    session_id text COLLATE "C",
    session_source text COLLATE "C" NOT NULL,
    agent text COLLATE "C",
    user_id text COLLATE "C",
    conversation text COLLATE "C",
    tags text COLLATE "C",
    store text COLLATE "C" NOT NULL,
    client text COLLATE "C",
    client_retry bigint NOT NULL,
    request_bytes bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    http_status bigint,
    error text COLLATE "C",
    lane text COLLATE "C",
    attempts bigint NOT NULL DEFAULT 0,
    queued_ms double precision,
    first_byte_ms double precision,
    total_ms double precision,
    response_bytes bigint NOT NULL DEFAULT 0,
    response_model text COLLATE "C",
    provider_id text COLLATE "C",
    finish_reason text COLLATE "C",
    usage_source text COLLATE "C",
    input_tokens bigint,
    output_tokens bigint,
    cached_tokens bigint,
    cache_write_5m_tokens bigint,
    cache_write_1h_tokens bigint,
    input_audio_tokens bigint,
    reasoning_tokens bigint,
    output_audio_tokens bigint,
    web_searches bigint,
    audio_seconds double precision,
    service_tier text COLLATE "C",
    cost_reported_pico bigint,
    cost_pico bigint,
    cost_input_pico bigint,
    cost_output_pico bigint,
    cost_cache_read_pico bigint,
    cost_cache_write_pico bigint,
    text_bytes bigint,
    media bigint,
    sent_ms double precision,
    counted bigint,
    sent_model text COLLATE "C",
    messages bigint,
    tip bigint,
    answer bigint,
    system bytea,
    function_calls bigint,
    client_key text COLLATE "C",
    on_disconnect text COLLATE "C",
    reserved_tokens bigint,
    reserved_pico bigint,
    tried text COLLATE "C",
    journal text COLLATE "C" NOT NULL DEFAULT current_setting('llmqd.journal'), -- of the daemon that has the call
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE TABLE calls_without_time PARTITION OF calls FOR VALUES FROM ('1') TO (MAXVALUE);
CREATE INDEX calls_by_session ON calls (session_id, id) WHERE session_id IS NOT NULL;
CREATE INDEX calls_running ON calls (journal, session_id) WHERE status = 'running';
CREATE INDEX calls_that_failed ON calls (status, id) WHERE status NOT IN ('done', 'running');
CREATE INDEX calls_imported ON calls (provider_id) WHERE lane = 'litellm';

CREATE TABLE sessions (
    session_id text COLLATE "C" PRIMARY KEY,
    source text COLLATE "C" NOT NULL,
    first_seen double precision NOT NULL,
    last_seen double precision NOT NULL,
    request_count bigint NOT NULL,
    error_count bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cost_pico bigint NOT NULL,
    unknown_cost_count bigint NOT NULL,
    agent text COLLATE "C",
    user_id text COLLATE "C",
    conversation text COLLATE "C",
    function_calls bigint NOT NULL DEFAULT 0,
    cache_hits bigint NOT NULL DEFAULT 0,
    total_ms bigint NOT NULL DEFAULT 0,
    client_key text COLLATE "C"
);
CREATE INDEX sessions_by_last_seen ON sessions (last_seen, session_id);
CREATE INDEX sessions_by_start ON sessions (first_seen, session_id) INCLUDE (last_seen, cost_pico, unknown_cost_count);
CREATE INDEX sessions_by_cost ON sessions (cost_pico);
CREATE INDEX sessions_by_key ON sessions (client_key, first_seen, session_id) WHERE client_key IS NOT NULL;

CREATE TABLE lane_usage (
    slot bigint NOT NULL,
    lane text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    last_sent double precision NOT NULL,
    calls bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    PRIMARY KEY (slot, lane, model)
);

CREATE TABLE texts (
    id bigint PRIMARY KEY,              -- the day from 2^32 on, then a number of its own
    key bigint NOT NULL,
    at bigint NOT NULL,
    content bytea NOT NULL
) PARTITION BY RANGE (id);
CREATE INDEX texts_by_key ON texts (key);

CREATE TABLE dictionaries (
    id bigint PRIMARY KEY,
    content bytea NOT NULL
);

CREATE TABLE session_numbers (
    number bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    session_id text COLLATE "C" NOT NULL
);
CREATE INDEX session_numbers_by_session ON session_numbers (session_id);

CREATE TABLE nodes (
    session bigint NOT NULL,
    key bigint NOT NULL,
    parent bigint NOT NULL,
    text bigint,
    at bigint NOT NULL,
    place bigint NOT NULL,
    PRIMARY KEY (session, key)
);
CREATE INDEX nodes_by_text ON nodes (text) WHERE text IS NOT NULL;

CREATE TABLE marks (
    id bigint PRIMARY KEY,
    mark bigint NOT NULL,
    session bigint NOT NULL,
    at double precision NOT NULL
);
CREATE UNIQUE INDEX marks_by_mark ON marks (mark, session);
CREATE FUNCTION next_mark() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT coalesce(max(id), 0) + 1 FROM marks';
ALTER TABLE marks ALTER COLUMN id SET DEFAULT next_mark();

CREATE TABLE facets (
    session_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    PRIMARY KEY (session_id, kind, value)
);
CREATE INDEX facets_by_value ON facets (kind, value, session_id);

CREATE TABLE usage (
    by text COLLATE "C" NOT NULL,
    step bigint NOT NULL,
    start bigint NOT NULL,
    value text COLLATE "C" NOT NULL,
    part text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    errors bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_pico bigint NOT NULL,
    cost_input_pico bigint NOT NULL,
    cost_output_pico bigint NOT NULL,
    cost_cache_read_pico bigint NOT NULL,
    cost_cache_write_pico bigint NOT NULL,
    unknown_cost_count bigint NOT NULL,
    cache_hits bigint NOT NULL,
    function_calls bigint NOT NULL,
    queued_ms bigint NOT NULL,
    total_ms bigint NOT NULL,
    first_ms bigint NOT NULL,
    streams bigint NOT NULL,
    shortest_ms double precision,
    longest_ms double precision,
    latency bytea NOT NULL,
    ttft bytea NOT NULL,
    PRIMARY KEY (by, step, start, value, part)
);
CREATE INDEX usage_by_value ON usage (by, value, step, start);

CREATE TABLE visits (
    by text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    PRIMARY KEY (by, value, session_id, hour)
);
CREATE INDEX visits_by_session ON visits (session_id);

CREATE TABLE returns (
    by text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    previous bigint NOT NULL,
    sessions bigint NOT NULL,
    PRIMARY KEY (by, value, hour, previous)
);

CREATE FUNCTION visit_returns() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    earlier bigint;
    later bigint;
BEGIN
    SELECT coalesce(max(hour), 0) INTO earlier FROM visits
    WHERE by = new."by" AND value = new.value AND session_id = new.session_id AND hour < new.hour;
    SELECT min(hour) INTO later FROM visits
    WHERE by = new."by" AND value = new.value AND session_id = new.session_id AND hour > new.hour;
    INSERT INTO returns (by, value, hour, previous, sessions) VALUES (new."by", new.value, new.hour, earlier, 1)
    ON CONFLICT (by, value, hour, previous) DO UPDATE SET sessions = returns.sessions + 1;
    IF later IS NOT NULL THEN  -- it is told of late: its next hour has this one before it now
        UPDATE returns SET sessions = sessions - 1
        WHERE by = new."by" AND value = new.value AND hour = later AND previous = earlier;
        INSERT INTO returns (by, value, hour, previous, sessions) VALUES (new."by", new.value, later, new.hour, 1)
        ON CONFLICT (by, value, hour, previous) DO UPDATE SET sessions = returns.sessions + 1;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER visit_returns AFTER INSERT ON visits FOR EACH ROW EXECUTE FUNCTION visit_returns();

CREATE FUNCTION session_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM facets WHERE session_id = old.session_id;
    DELETE FROM visits WHERE session_id = old.session_id;
    RETURN NULL;
END $$;
CREATE TRIGGER session_gone AFTER DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION session_gone();

CREATE TABLE moves (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    session_id text COLLATE "C" NOT NULL,
    into_id text COLLATE "C" NOT NULL,
    first text COLLATE "C" NOT NULL,
    until text COLLATE "C",
    at double precision NOT NULL
);
CREATE INDEX moves_by_session ON moves (session_id);

CREATE TABLE spending (
    slot bigint NOT NULL,
    by text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    tokens bigint NOT NULL,
    cost_pico bigint NOT NULL,
    last double precision NOT NULL,
    PRIMARY KEY (slot, by, value)
);

-- Which words a text has; `id` is that of the text.
CREATE TABLE words (
    id bigint PRIMARY KEY,
    said tsvector NOT NULL
) PARTITION BY RANGE (id);
CREATE INDEX words_said ON words USING gin (said);
"""

_COLUMN = r"(\w+) (text|bigint|double precision|bytea)\b"


def column_types(table: str) -> dict[str, str]:
    """The types of a table's columns, as its migrations give them."""
    script = "\n".join(MIGRATIONS)
    made = re.search(rf"CREATE TABLE {table} \(\n(.*?)\n\)", script, re.DOTALL)
    columns = re.findall(rf"^ +{_COLUMN}", made[1] if made else "", re.MULTILINE)
    return dict(columns + re.findall(rf"ALTER TABLE {table} ADD COLUMN {_COLUMN}", script))


MIGRATIONS: tuple[str, ...] = (_TABLES,)
"""Append only: number n brings a database from version n - 1 to n."""
