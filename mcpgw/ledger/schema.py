"""The tables of the ledger on SQLite, as numbered migrations.

`records`, `checkpoints` and `payloads` are the log; everything else is a projection that could be made again from it.
Migrations are only ever added at the end. One that an older, running gateway could not live with takes a new file instead.
"""

_V1 = """
CREATE TABLE records (
    seq         INTEGER PRIMARY KEY,   -- the leaf's index in the tree
    event_id    TEXT NOT NULL UNIQUE,
    leaf        BLOB NOT NULL,
    hash        BLOB NOT NULL,         -- RFC 6962 leaf hash: pins one flipped byte to one record
    time_ns     INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    principal   TEXT NOT NULL,
    server      TEXT NOT NULL,
    target      TEXT NOT NULL,
    decision    TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    code        TEXT NOT NULL,
    call_id     TEXT NOT NULL,
    approval_id TEXT NOT NULL,
    session     TEXT NOT NULL,
    node        TEXT NOT NULL
) STRICT;
CREATE INDEX records_by_principal ON records (principal, seq);
CREATE INDEX records_by_target ON records (target, seq);
CREATE INDEX records_by_call ON records (call_id) WHERE call_id != '';
CREATE INDEX records_by_approval ON records (approval_id) WHERE approval_id != '';

CREATE TRIGGER records_are_dense BEFORE INSERT ON records
WHEN NEW.seq != (SELECT coalesce(max(seq), -1) + 1 FROM records)
BEGIN SELECT raise(ABORT, 'records are only ever appended'); END;
CREATE TRIGGER records_stay BEFORE DELETE ON records
BEGIN SELECT raise(ABORT, 'records are never deleted'); END;
CREATE TRIGGER records_hold BEFORE UPDATE ON records
BEGIN SELECT raise(ABORT, 'records are never changed'); END;

CREATE TABLE checkpoints (
    size     INTEGER PRIMARY KEY,
    note     TEXT NOT NULL,            -- C2SP signed note
    frontier BLOB NOT NULL             -- hashes of the perfect subtrees, whose root the note signs
) STRICT;
CREATE TRIGGER checkpoints_grow BEFORE INSERT ON checkpoints
WHEN NEW.size <= (SELECT coalesce(max(size), 0) FROM checkpoints)
BEGIN SELECT raise(ABORT, 'checkpoints only ever grow'); END;
CREATE TRIGGER checkpoints_stay BEFORE DELETE ON checkpoints
BEGIN SELECT raise(ABORT, 'checkpoints are never deleted'); END;
CREATE TRIGGER checkpoints_hold BEFORE UPDATE ON checkpoints
BEGIN SELECT raise(ABORT, 'checkpoints are never changed'); END;

CREATE TABLE payloads (
    seq  INTEGER NOT NULL,
    slot TEXT NOT NULL,
    salt BLOB NOT NULL,
    body BLOB NOT NULL,                -- record.pack
    PRIMARY KEY (seq, slot)
) STRICT;

CREATE TABLE approvals (
    id            TEXT PRIMARY KEY,
    state         TEXT NOT NULL,
    digest        TEXT NOT NULL,
    request_key   TEXT NOT NULL,
    held_seq      INTEGER NOT NULL,
    call_id       TEXT NOT NULL,
    requester     TEXT NOT NULL,
    actors        TEXT NOT NULL,       -- JSON, as are approvers, rule_ids and votes
    target        TEXT NOT NULL,
    approvers     TEXT NOT NULL,
    quorum        INTEGER NOT NULL,
    rule_ids      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    policy_hash   TEXT NOT NULL,
    opened_ns     INTEGER NOT NULL,
    deadline_ns   INTEGER NOT NULL,
    votes         TEXT NOT NULL,
    exact         BLOB NOT NULL,       -- encrypted by the desk; empty once settled or spent
    spent_call    TEXT NOT NULL,
    outcome_event TEXT NOT NULL
) STRICT;
CREATE INDEX approvals_by_state ON approvals (state, held_seq);
CREATE INDEX approvals_by_request ON approvals (request_key, held_seq);

CREATE TABLE open_calls (              -- intents that have no outcome yet
    call_id     TEXT PRIMARY KEY,
    seq         INTEGER NOT NULL,
    node        TEXT NOT NULL,
    approval_id TEXT NOT NULL
) STRICT;

CREATE TABLE nodes (                   -- processes that write; whether they live is told by their lock
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL,
    seen_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO meta VALUES ('approvals_version', 0);
"""

_TILES = """
CREATE TABLE tiles (                   -- full tiles of the tree, as C2SP tlog-tiles cuts it
    level  INTEGER NOT NULL,
    idx    INTEGER NOT NULL,
    root   BLOB NOT NULL,
    hashes BLOB NOT NULL,              -- 256 of 32 bytes
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;
"""

_SESSIONS = """
CREATE TABLE sessions (                -- open ones; the newest number in each stands in its newest record as well
    key       TEXT PRIMARY KEY,
    id        TEXT NOT NULL,
    records   INTEGER NOT NULL,
    permitted INTEGER NOT NULL,
    held      INTEGER NOT NULL,
    refused   INTEGER NOT NULL,
    replayed  INTEGER NOT NULL,
    seen_ns   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;               -- one page to write with each commit; no index, for the same reason

CREATE TABLE marks (                   -- what the record last said of something: its newest hash, how far it was summed up
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_TERMS = """
ALTER TABLE approvals ADD COLUMN terms TEXT NOT NULL DEFAULT '{}';    -- JSON, as are votes and remarks
ALTER TABLE approvals ADD COLUMN level INTEGER NOT NULL DEFAULT 0;
ALTER TABLE approvals ADD COLUMN usable_until_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE approvals ADD COLUMN settled_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE approvals ADD COLUMN break_glass INTEGER NOT NULL DEFAULT 0;
ALTER TABLE approvals ADD COLUMN remarks TEXT NOT NULL DEFAULT '[]';
UPDATE approvals SET settled_ns = coalesce((SELECT min(time_ns) FROM records
    WHERE approval_id = approvals.id AND kind = 'approval.settled'), 0);
UPDATE approvals SET usable_until_ns = deadline_ns, terms = json_object('levels', json_array(json_object(
    'seats', json_array(json_object('count', quorum, 'of', json(approvers))), 'lasts_ns', deadline_ns - opened_ns)));
ALTER TABLE approvals DROP COLUMN approvers;
ALTER TABLE approvals DROP COLUMN quorum;
CREATE INDEX approvals_exceptional ON approvals (held_seq) WHERE break_glass != 0 OR state = 'indeterminate';
"""
"""Who must agree became more than a list and a number; a gateway that knew only those must not count these votes."""

_GRANTS = """
ALTER TABLE approvals ADD COLUMN allowances TEXT NOT NULL DEFAULT '[]';    -- JSON objects; of a grant there is one
ALTER TABLE approvals ADD COLUMN uses TEXT NOT NULL DEFAULT '[]';
CREATE INDEX approvals_granted ON approvals (requester, target) WHERE state = 'approved' AND allowances != '[]';
"""
"""A gateway that does not know these leaves them as they are, and cannot open what a grant's approvers would look at."""

_OFFERS = """
ALTER TABLE approvals ADD COLUMN offer TEXT NOT NULL DEFAULT '[]';    -- JSON: the vote of whoever proposed other arguments
ALTER TABLE approvals ADD COLUMN offered_key TEXT NOT NULL DEFAULT '';
ALTER TABLE approvals ADD COLUMN offered BLOB NOT NULL DEFAULT x'';   -- encrypted by the desk; empty once taken up or lapsed
ALTER TABLE approvals ADD COLUMN taken_by TEXT NOT NULL DEFAULT '';
CREATE INDEX approvals_offered ON approvals (offered_key) WHERE offered_key != '';
"""

_PREVIEWS = "ALTER TABLE approvals ADD COLUMN preview_event TEXT NOT NULL DEFAULT '';"

_SEARCH = """
CREATE INDEX records_by_time ON records (time_ns);
CREATE INDEX records_by_session ON records (session, seq) WHERE kind IN ('session.opened', 'session.closed');
CREATE INDEX records_by_rarer_kind ON records (kind, seq) WHERE kind NOT IN ('call.intent', 'call.outcome');
"""
"""For auditors' questions. An index costs each commit a page; the partial ones leave out what calls write most."""

_ERASURE = """
CREATE TABLE holds (                   -- legal holds that stand
    id       TEXT PRIMARY KEY,
    who      TEXT NOT NULL,
    session  TEXT NOT NULL,
    from_ns  INTEGER NOT NULL,
    until_ns INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    seq      INTEGER NOT NULL          -- the record that says so
) STRICT;
-- how often something was erased, and up to which of them the files were scrubbed; when the next sweep is due
INSERT INTO meta VALUES ('erased', 0), ('scrubbed', 0), ('sweep_due_ns', 0);
"""

MIGRATIONS = (_V1, _TILES, _SESSIONS, _TERMS, _GRANTS, _OFFERS, _PREVIEWS, _SEARCH, _ERASURE)
VERSION = len(MIGRATIONS)
"""Kept in the file as `PRAGMA user_version`."""
TILES_SINCE = MIGRATIONS.index(_TILES) + 1
KINDS_SINCE = MIGRATIONS.index(_SEARCH) + 1
HOLDS_SINCE = MIGRATIONS.index(_ERASURE) + 1
"""A file that is only read may be older."""
