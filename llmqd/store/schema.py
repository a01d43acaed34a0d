"""The SQLite tables, as numbered migrations."""

from __future__ import annotations

APPLICATION_ID = 0x6C6C6D71
"""`PRAGMA application_id` of our databases: "llmq"."""

_CALLS_SESSIONS_META = """
CREATE TABLE calls (
    id TEXT PRIMARY KEY,                -- our own; sorts by time, so that the table grows at its end
    received_at REAL NOT NULL,          -- Unix seconds
    method TEXT NOT NULL,
    path TEXT NOT NULL,                 -- as the upstream saw it, percent-encoded, without the query
    dialect TEXT NOT NULL,
    operation TEXT NOT NULL,
    upstream TEXT NOT NULL,
    model TEXT,                         -- as the client asked; response_model is what answered
    stream INTEGER NOT NULL,            -- 0 or 1
    priority INTEGER NOT NULL,          -- 0 (first) to 9
    max_wait REAL,                      -- seconds; NULL: no bound
    no_queue INTEGER NOT NULL,          -- 0 or 1
    session_id TEXT,
    session_source TEXT NOT NULL,       -- path header body detected new none
    agent TEXT,
    user_id TEXT,
    conversation TEXT,
    tags TEXT,                          -- JSON array of strings; NULL: none
    store TEXT NOT NULL,                -- what the client allows to be kept: full usage none
    client TEXT,
    client_retry INTEGER NOT NULL,      -- which retry of the client's SDK this was
    request_bytes INTEGER NOT NULL,
    status TEXT NOT NULL,               -- running done cut failed cancelled abandoned refused interrupted
    http_status INTEGER,
    error TEXT,                         -- llmqd's own code or the kind of failure; NULL: the upstream's answer passed
    lane TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    queued_ms REAL,                     -- these three since the call arrived
    first_byte_ms REAL,
    total_ms REAL,
    response_bytes INTEGER NOT NULL DEFAULT 0,
    response_model TEXT,
    provider_id TEXT,                   -- the provider's id of its answer; providers repeat theirs, so never unique
    finish_reason TEXT,
    usage_source TEXT,                  -- exact estimated unknown; NULL: this kind of call has no usage
    input_tokens INTEGER,               -- total; cached, cache writes and audio are parts of it
    output_tokens INTEGER,              -- total; reasoning and audio are parts of it
    cached_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    input_audio_tokens INTEGER,
    reasoning_tokens INTEGER,
    output_audio_tokens INTEGER,
    web_searches INTEGER,
    audio_seconds REAL,
    service_tier TEXT,
    cost_reported_pico INTEGER,         -- the provider's own price
    cost_pico INTEGER,                  -- 1e-12 USD, so that sums are exact; NULL: price unknown
    cost_input_pico INTEGER,            -- neither read from nor written to the cache
    cost_output_pico INTEGER,
    cost_cache_read_pico INTEGER,
    cost_cache_write_pico INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_by_session ON calls (session_id, id) WHERE session_id IS NOT NULL;
-- Only what is open at the moment: finding what a dead daemon left behind must not read the table.
CREATE INDEX calls_running ON calls (session_id) WHERE status = 'running';

-- One row a session, kept up with each record, so that totals cost the same however many calls there are.
CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    source TEXT NOT NULL,               -- how its first call was recognised
    first_seen REAL NOT NULL,
    last_seen REAL NOT NULL,
    request_count INTEGER NOT NULL,     -- answered with 2xx
    error_count INTEGER NOT NULL,       -- ended in any other way
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cost_pico INTEGER NOT NULL,         -- of the calls whose price is known
    unknown_cost_count INTEGER NOT NULL -- calls with usage whose price is not
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_last_seen ON sessions (last_seen);

-- journal: the id of the journal that is followed; position: how far it is applied; run: the daemon run it tells of.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_LANE_USAGE = """
ALTER TABLE calls ADD COLUMN text_bytes INTEGER /* of a JSON body, without base64 content; 0: not read */;
ALTER TABLE calls ADD COLUMN media INTEGER /* pictures, sounds and documents in it, in base64 */;
ALTER TABLE calls ADD COLUMN sent_ms REAL /* since the call arrived: when the last attempt left after its turn */;
ALTER TABLE calls ADD COLUMN counted INTEGER /* 0 or 1: the provider counts that attempt against its limits */;

-- What each lane has let through and the provider counts, for two days: a daemon that starts must know what of its
-- limits is used up, without reading every call.
CREATE TABLE lane_usage (
    slot INTEGER NOT NULL,              -- Unix seconds at which ten seconds begin in which the calls were sent
    lane TEXT NOT NULL,
    model TEXT NOT NULL,                -- as the provider was asked; '' where it named none
    last_sent REAL NOT NULL,            -- Unix seconds
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    PRIMARY KEY (slot, lane, model)
) STRICT, WITHOUT ROWID;
"""

_SENT_MODEL = """
ALTER TABLE calls ADD COLUMN sent_model TEXT /* what the upstream was asked for; NULL: as model */;
"""

_TEXTS = """
ALTER TABLE calls ADD COLUMN messages INTEGER /* in the request, system texts not counted; NULL: nothing was said */;
ALTER TABLE calls ADD COLUMN tip INTEGER /* the node of the request's last message; NULL: what was said is not kept */;
ALTER TABLE calls ADD COLUMN answer INTEGER /* the node of the answer */;
ALTER TABLE calls ADD COLUMN system BLOB /* keys of the system texts, 8 bytes each, big-endian */;

-- What was said, each message once, whoever said it in whichever call. New rows are put at the end and so is what is
-- said again a day later: the beginning is what nobody has needed for longest.
CREATE TABLE texts (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,               -- keyed digest of what was said; negative: of the bytes of a picture or file
    at INTEGER NOT NULL,                -- Unix seconds: when it was last put at the end
    content BLOB NOT NULL               -- a byte that says how it is packed, then a Message as JSON, or bytes
) STRICT;
CREATE UNIQUE INDEX texts_by_key ON texts (key);

-- What texts were packed with, to be unpacked again.
CREATE TABLE dictionaries (
    id INTEGER PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

-- Short names of sessions, never given twice; those of sessions that were merged are of one session.
CREATE TABLE session_numbers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL
) STRICT;
CREATE INDEX session_numbers_by_session ON session_numbers (session_id);

-- The tree of everything that was said in a session. What was said without one stands under minus the day.
CREATE TABLE nodes (
    session INTEGER NOT NULL,
    key INTEGER NOT NULL,               -- digest of the conversation up to this message
    parent INTEGER NOT NULL,            -- the node before; no other's key where the conversation begins
    text INTEGER,                       -- key of the message; NULL: another name of its parent
    at INTEGER NOT NULL,                -- Unix microseconds: when the call that said it first ended
    place INTEGER NOT NULL,             -- of the message in that call
    PRIMARY KEY (session, key)
) STRICT, WITHOUT ROWID;

-- By what sessions are known again, the oldest first.
CREATE TABLE marks (
    id INTEGER PRIMARY KEY,
    mark INTEGER NOT NULL,
    session INTEGER NOT NULL,
    at REAL NOT NULL                    -- Unix seconds
) STRICT;
CREATE UNIQUE INDEX marks_by_mark ON marks (mark, session);
"""

_USAGE = """
ALTER TABLE calls ADD COLUMN function_calls INTEGER /* calls of tools in the answer */;
CREATE INDEX calls_that_failed ON calls (status, id) WHERE status NOT IN ('done', 'running');

ALTER TABLE sessions ADD COLUMN agent TEXT /* these three as the first call said that said any */;
ALTER TABLE sessions ADD COLUMN user_id TEXT;
ALTER TABLE sessions ADD COLUMN conversation TEXT;
ALTER TABLE sessions ADD COLUMN function_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN cache_hits INTEGER NOT NULL DEFAULT 0 /* answered calls that read from the cache */;
ALTER TABLE sessions ADD COLUMN total_ms INTEGER NOT NULL DEFAULT 0 /* of the calls in request_count */;
-- With what sessions are counted by, so that counting reads nothing else.
CREATE INDEX sessions_by_start ON sessions (first_seen, session_id, last_seen, cost_pico, unknown_cost_count);
CREATE INDEX sessions_by_cost ON sessions (cost_pico);

-- What a session can be found by.
CREATE TABLE facets (
    session_id TEXT NOT NULL,
    kind TEXT NOT NULL,                 -- model agent user key tag status
    value TEXT NOT NULL,
    PRIMARY KEY (session_id, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX facets_by_value ON facets (kind, value, session_id);

-- What the calls received in one hour or one day come to. Rows of one `by` and `step` add up to all calls that ended.
CREATE TABLE usage (
    by TEXT NOT NULL,                   -- all model agent user key upstream
    step INTEGER NOT NULL,              -- seconds: 3600, or 86400 for a day in UTC
    start INTEGER NOT NULL,             -- Unix seconds
    value TEXT NOT NULL,                -- which model, agent and so on; '' for none, and where by is all
    part TEXT NOT NULL,                 -- the upstream, where by is model
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,            -- of these, not answered with 2xx
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_pico INTEGER NOT NULL,         -- of the calls whose price is known
    cost_input_pico INTEGER NOT NULL,
    cost_output_pico INTEGER NOT NULL,
    cost_cache_read_pico INTEGER NOT NULL,
    cost_cache_write_pico INTEGER NOT NULL,
    unknown_cost_count INTEGER NOT NULL,-- calls with usage whose price is not
    cache_hits INTEGER NOT NULL,        -- answered calls that read from the cache
    function_calls INTEGER NOT NULL,
    queued_ms INTEGER NOT NULL,
    total_ms INTEGER NOT NULL,          -- of the answered calls, as are the four below
    first_ms INTEGER NOT NULL,          -- of the streams
    streams INTEGER NOT NULL,
    shortest_ms REAL,
    longest_ms REAL,
    latency BLOB NOT NULL,              -- histogram of total_ms: the numbers of buckets, then as many counts of 4 bytes
    ttft BLOB NOT NULL,                 -- likewise, of the first bytes of streams
    PRIMARY KEY (by, step, start, value, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_value ON usage (by, value, step, start);

-- In which hours a session was active, over all and with each agent.
CREATE TABLE visits (
    by TEXT NOT NULL,                   -- all agent
    value TEXT NOT NULL,
    session_id TEXT NOT NULL,
    hour INTEGER NOT NULL,              -- Unix seconds at which it began
    PRIMARY KEY (by, value, session_id, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX visits_by_session ON visits (session_id);

-- How many sessions were active in an hour and before that last in another (0: never). The distinct sessions from one
-- hour to another are those that were active in it and before that last before it.
CREATE TABLE returns (
    by TEXT NOT NULL,
    value TEXT NOT NULL,
    hour INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    sessions INTEGER NOT NULL,
    PRIMARY KEY (by, value, hour, previous)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER visit_returns AFTER INSERT ON visits BEGIN
    INSERT INTO returns (by, value, hour, previous, sessions)
    VALUES (new.by, new.value, new.hour, coalesce((
        SELECT max(hour) FROM visits
        WHERE by = new.by AND value = new.value AND session_id = new.session_id AND hour < new.hour
    ), 0), 1)
    ON CONFLICT (by, value, hour, previous) DO UPDATE SET sessions = sessions + 1;
END;

-- Of a session that is told of late: its next hour has this one before it now.
CREATE TRIGGER visit_between AFTER INSERT ON visits WHEN EXISTS (
    SELECT 1 FROM visits
    WHERE by = new.by AND value = new.value AND session_id = new.session_id AND hour > new.hour
) BEGIN
    UPDATE returns SET sessions = sessions - 1
    WHERE by = new.by AND value = new.value AND hour = (
        SELECT min(hour) FROM visits
        WHERE by = new.by AND value = new.value AND session_id = new.session_id AND hour > new.hour
    ) AND previous = coalesce((
        SELECT max(hour) FROM visits
        WHERE by = new.by AND value = new.value AND session_id = new.session_id AND hour < new.hour
    ), 0);
    INSERT INTO returns (by, value, hour, previous, sessions)
    VALUES (new.by, new.value, (
        SELECT min(hour) FROM visits
        WHERE by = new.by AND value = new.value AND session_id = new.session_id AND hour > new.hour
    ), new.hour, 1)
    ON CONFLICT (by, value, hour, previous) DO UPDATE SET sessions = sessions + 1;
END;

-- Roll-ups outlive the sessions that they tell of.
CREATE TRIGGER session_gone AFTER DELETE ON sessions BEGIN
    DELETE FROM facets WHERE session_id = old.session_id;
    DELETE FROM visits WHERE session_id = old.session_id;
END;

-- What was recorded before is rolled up step by step, from its beginning on.
INSERT INTO meta (key, value) SELECT 'rolled_up_to', '' WHERE EXISTS (SELECT 1 FROM calls);
"""

_CLIENT_KEYS = """
ALTER TABLE calls ADD COLUMN client_key TEXT /* the name of the client key; NULL: made without */;
ALTER TABLE sessions ADD COLUMN client_key TEXT /* of its first call that had one: whose session it is */;
CREATE INDEX sessions_by_key ON sessions (client_key, first_seen, session_id) WHERE client_key IS NOT NULL;
"""

_MOVES = """
-- Calls that belong to another session than was thought, in the order in which this was said.
CREATE TABLE moves (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL,           -- whose calls they were
    into_id TEXT NOT NULL,
    first TEXT NOT NULL,                -- those with ids from this one on; '' for all
    until TEXT,                         -- and before this one; NULL: those that are yet to come, too
    at REAL NOT NULL                    -- Unix seconds
) STRICT;
CREATE INDEX moves_by_session ON moves (session_id);
"""

_IMPORTED = """
-- Calls of LiteLLM by the ids that it has given them.
CREATE INDEX calls_imported ON calls (provider_id) WHERE lane = 'litellm';
"""

_ON_DISCONNECT = """
ALTER TABLE calls ADD COLUMN on_disconnect TEXT /* cancel or finish, where the client left while the call ran */;
"""

_SPENDING = """
ALTER TABLE calls ADD COLUMN reserved_tokens INTEGER /* what it was expected to take; NULL, 0: under no budget */;
ALTER TABLE calls ADD COLUMN reserved_pico INTEGER;

-- What calls count for in budgets, by the quarter of an hour in which they were received: a daemon that starts must
-- know what of its budgets is spent. Quarters are kept as long as the longest month; slot 0 is of all time.
CREATE TABLE spending (
    slot INTEGER NOT NULL,              -- Unix seconds at which it begins
    by TEXT NOT NULL,                   -- all key user agent session
    value TEXT NOT NULL,                -- which; '' where by is all
    calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    cost_pico INTEGER NOT NULL,
    last REAL NOT NULL,                 -- Unix seconds: when the last of these calls was received
    PRIMARY KEY (slot, by, value)
) STRICT, WITHOUT ROWID;
"""

_WORDS = """
-- In which texts a word stands: rowid is the id of the text. It holds the words alone, not where they stand; what goes
-- from `texts` is told to it with the same words again.
CREATE VIRTUAL TABLE words USING fts5 (said, content = '', columnsize = 0, detail = none, tokenize = 'ascii');
CREATE INDEX nodes_by_text ON nodes (text) WHERE text IS NOT NULL;

-- Texts that were there before, below this id, are taken in step by step, the latest first.
INSERT INTO meta (key, value) SELECT 'words_from', max(id) + 1 FROM texts HAVING count(*) > 0;
"""

_TRIED = """
ALTER TABLE calls ADD COLUMN tried TEXT /* JSON array of the attempts before the last one; NULL: it was the only one */;
"""

_TERMS = """
-- Every word of the index, to find those that begin in some way: a row for each text that has it, so never count them.
CREATE VIRTUAL TABLE words_terms USING fts5vocab (words, instance);
"""

MIGRATIONS: tuple[str, ...] = (
    _CALLS_SESSIONS_META,
    _LANE_USAGE,
    _SENT_MODEL,
    _TEXTS,
    _USAGE,
    _CLIENT_KEYS,
    _MOVES,
    _IMPORTED,
    _ON_DISCONNECT,
    _SPENDING,
    _WORDS,
    _TRIED,
    _TERMS,
)
"""Append only: number n brings a database from `user_version` n - 1 to n."""
