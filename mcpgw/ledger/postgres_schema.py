"""The tables of the ledger on PostgreSQL, as numbered migrations.

The same in spirit as on SQLite (`schema`): `records`, `checkpoints` and `payloads` are the log, everything else is a projection
that could be made again from it. Three roles share it: `mcpgw_owner` owns everything and migrates, `mcpgw_gateway` appends and
cannot change what stands, `mcpgw_auditor` reads. Triggers are a second wall for whoever has more rights than a gateway.

Migrations are only ever added at the end. `oldest` is the oldest schema number whose gateways may go on writing afterwards, so
that a rolling update need not stop anything: new columns have defaults, and nothing that an older gateway names goes away.
"""

from dataclasses import dataclass

SCHEMA = "mcpgw"
GATEWAY, AUDITOR = "mcpgw_gateway", "mcpgw_auditor"
CHANNEL = "mcpgw_approvals"
"""Who listens hears of each committed change of an approval."""


@dataclass(frozen=True, slots=True)
class Migration:
    sql: str
    oldest: int


_V1 = """
CREATE TABLE records (
    seq         bigint PRIMARY KEY,    -- the leaf's index in the tree
    event_id    text COLLATE "C" NOT NULL UNIQUE,
    leaf        bytea NOT NULL,
    hash        bytea NOT NULL,        -- RFC 6962 leaf hash: pins one flipped byte to one record
    time_ns     bigint NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    principal   text COLLATE "C" NOT NULL,
    server      text COLLATE "C" NOT NULL,
    target      text COLLATE "C" NOT NULL,
    decision    text COLLATE "C" NOT NULL,
    outcome     text COLLATE "C" NOT NULL,
    code        text COLLATE "C" NOT NULL,
    call_id     text COLLATE "C" NOT NULL,
    approval_id text COLLATE "C" NOT NULL,
    session     text COLLATE "C" NOT NULL,
    node        text COLLATE "C" NOT NULL
);
CREATE INDEX records_by_principal ON records (principal, seq);
CREATE INDEX records_by_target ON records (target, seq);
CREATE INDEX records_by_call ON records (call_id) WHERE call_id != '';
CREATE INDEX records_by_approval ON records (approval_id) WHERE approval_id != '';

CREATE TABLE checkpoints (
    size     bigint PRIMARY KEY,
    note     text COLLATE "C" NOT NULL, -- C2SP signed note
    frontier bytea NOT NULL             -- hashes of the perfect subtrees, whose root the note signs
);

CREATE TABLE payloads (
    seq  bigint NOT NULL,
    slot text COLLATE "C" NOT NULL,
    salt bytea NOT NULL,
    body bytea NOT NULL,                -- record.pack
    PRIMARY KEY (seq, slot)
);
ALTER TABLE payloads ALTER body SET STORAGE EXTERNAL; -- it is compressed already

CREATE TABLE approvals (
    id            text COLLATE "C" PRIMARY KEY,
    state         text COLLATE "C" NOT NULL,
    digest        text COLLATE "C" NOT NULL,
    request_key   text COLLATE "C" NOT NULL,
    held_seq      bigint NOT NULL,
    call_id       text COLLATE "C" NOT NULL,
    requester     text COLLATE "C" NOT NULL,
    actors        text COLLATE "C" NOT NULL, -- JSON, as are approvers, rule_ids and votes
    target        text COLLATE "C" NOT NULL,
    approvers     text COLLATE "C" NOT NULL,
    quorum        integer NOT NULL,
    rule_ids      text COLLATE "C" NOT NULL,
    reason        text COLLATE "C" NOT NULL,
    policy_hash   text COLLATE "C" NOT NULL,
    opened_ns     bigint NOT NULL,
    deadline_ns   bigint NOT NULL,
    votes         text COLLATE "C" NOT NULL,
    exact         bytea NOT NULL,            -- encrypted by the desk; empty once settled or spent
    spent_call    text COLLATE "C" NOT NULL,
    outcome_event text COLLATE "C" NOT NULL
);
CREATE INDEX approvals_by_state ON approvals (state, held_seq);
CREATE INDEX approvals_by_request ON approvals (request_key, held_seq);

CREATE TABLE open_calls (               -- intents that have no outcome yet
    call_id     text COLLATE "C" PRIMARY KEY,
    seq         bigint NOT NULL,
    node        text COLLATE "C" NOT NULL,
    approval_id text COLLATE "C" NOT NULL
);

CREATE TABLE nodes (                    -- processes that write; whether they live is told by their advisory lock
    id      text COLLATE "C" PRIMARY KEY,
    name    text COLLATE "C" NOT NULL,
    seen_ns bigint NOT NULL
);

CREATE TABLE meta (key text COLLATE "C" PRIMARY KEY, value bigint NOT NULL);
INSERT INTO meta VALUES ('approvals_version', 0), ('turn', 0); -- whoever locks the row `turn` is the one who appends

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS
$$ BEGIN RAISE EXCEPTION '% are never changed or deleted', TG_TABLE_NAME; END $$;
CREATE FUNCTION records_are_dense() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS
$$ BEGIN
    IF NEW.seq != (SELECT coalesce(max(seq), -1) + 1 FROM mcpgw.records) THEN
        RAISE EXCEPTION 'records are only ever appended';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION checkpoints_grow() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS
$$ BEGIN
    IF NEW.size <= (SELECT coalesce(max(size), 0) FROM mcpgw.checkpoints) THEN
        RAISE EXCEPTION 'checkpoints only ever grow';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER records_dense BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION records_are_dense();
CREATE TRIGGER records_stay BEFORE UPDATE OR DELETE ON records FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER records_whole BEFORE TRUNCATE ON records EXECUTE FUNCTION refuse();
CREATE TRIGGER checkpoints_grow BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION checkpoints_grow();
CREATE TRIGGER checkpoints_stay BEFORE UPDATE OR DELETE ON checkpoints FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER checkpoints_whole BEFORE TRUNCATE ON checkpoints EXECUTE FUNCTION refuse();
CREATE TRIGGER payloads_stay BEFORE UPDATE ON payloads FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER payloads_whole BEFORE TRUNCATE ON payloads EXECUTE FUNCTION refuse();
-- ALWAYS: not even a session that plays a replica gets past them
ALTER TABLE records ENABLE ALWAYS TRIGGER records_dense;
ALTER TABLE records ENABLE ALWAYS TRIGGER records_stay;
ALTER TABLE records ENABLE ALWAYS TRIGGER records_whole;
ALTER TABLE checkpoints ENABLE ALWAYS TRIGGER checkpoints_grow;
ALTER TABLE checkpoints ENABLE ALWAYS TRIGGER checkpoints_stay;
ALTER TABLE checkpoints ENABLE ALWAYS TRIGGER checkpoints_whole;
ALTER TABLE payloads ENABLE ALWAYS TRIGGER payloads_stay;
ALTER TABLE payloads ENABLE ALWAYS TRIGGER payloads_whole;

GRANT USAGE ON SCHEMA mcpgw TO mcpgw_gateway, mcpgw_auditor;
GRANT SELECT ON records, checkpoints, payloads, migrations TO mcpgw_gateway, mcpgw_auditor;
GRANT INSERT ON records, checkpoints, payloads TO mcpgw_gateway;
GRANT SELECT, INSERT, UPDATE ON approvals TO mcpgw_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON open_calls, nodes TO mcpgw_gateway;
GRANT SELECT, UPDATE ON meta TO mcpgw_gateway;
"""

_TILES = """
CREATE TABLE tiles (                    -- full tiles of the tree, as C2SP tlog-tiles cuts it
    level  smallint NOT NULL,
    idx    bigint NOT NULL,
    root   bytea NOT NULL,
    hashes bytea NOT NULL,              -- 256 of 32 bytes
    PRIMARY KEY (level, idx)
);
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL; -- hashes do not compress
GRANT SELECT ON tiles TO mcpgw_gateway, mcpgw_auditor;
GRANT INSERT, UPDATE, DELETE ON tiles TO mcpgw_gateway;
"""

_SESSIONS = """
CREATE TABLE sessions (                 -- open ones; the newest number in each stands in its newest record as well
    key       text COLLATE "C" PRIMARY KEY,
    id        text COLLATE "C" NOT NULL,
    records   bigint NOT NULL,
    permitted bigint NOT NULL,
    held      bigint NOT NULL,
    refused   bigint NOT NULL,
    replayed  bigint NOT NULL,
    seen_ns   bigint NOT NULL
) WITH (fillfactor = 50);               -- an update finds room beside the old row, and no index but the key's has to follow

CREATE TABLE marks (                    -- what the record last said of something: its newest hash, how far it was summed up
    name  text COLLATE "C" PRIMARY KEY,
    value text COLLATE "C" NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO mcpgw_gateway;
GRANT SELECT, INSERT, UPDATE ON marks TO mcpgw_gateway;
"""

_TERMS = """
ALTER TABLE approvals
    ADD terms           text COLLATE "C" NOT NULL DEFAULT '{}', -- JSON, as are votes and remarks
    ADD level           integer NOT NULL DEFAULT 0,
    ADD usable_until_ns bigint NOT NULL DEFAULT 0,
    ADD settled_ns      bigint NOT NULL DEFAULT 0,
    ADD break_glass     integer NOT NULL DEFAULT 0,
    ADD remarks         text COLLATE "C" NOT NULL DEFAULT '[]';
UPDATE approvals SET settled_ns = coalesce((SELECT min(time_ns) FROM records
    WHERE approval_id = approvals.id AND kind = 'approval.settled'), 0);
UPDATE approvals SET usable_until_ns = deadline_ns, terms = json_build_object('levels', json_build_array(json_build_object(
    'seats', json_build_array(json_build_object('count', quorum, 'of', approvers::json)),
    'lasts_ns', deadline_ns - opened_ns)))::text;
ALTER TABLE approvals DROP approvers, DROP quorum;
CREATE INDEX approvals_exceptional ON approvals (held_seq) WHERE break_glass != 0 OR state = 'indeterminate';
"""
# Who must agree became more than a list and a number: a gateway that knew only those must not count these votes.

_GRANTS = """
ALTER TABLE approvals
    ADD allowances text COLLATE "C" NOT NULL DEFAULT '[]', -- JSON objects; of a grant there is one
    ADD uses       text COLLATE "C" NOT NULL DEFAULT '[]';
CREATE INDEX approvals_granted ON approvals (requester, target) WHERE state = 'approved' AND allowances != '[]';
"""
# A gateway that does not know these leaves them as they are, and cannot open what a grant's approvers would look at.

_OFFERS = """
ALTER TABLE approvals
    ADD offer       text COLLATE "C" NOT NULL DEFAULT '[]', -- JSON: the vote of whoever proposed other arguments
    ADD offered_key text COLLATE "C" NOT NULL DEFAULT '',
    ADD offered     bytea NOT NULL DEFAULT '',              -- encrypted by the desk; empty once taken up or lapsed
    ADD taken_by    text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX approvals_offered ON approvals (offered_key) WHERE offered_key != '';
"""

_PREVIEWS = """
ALTER TABLE approvals ADD preview_event text COLLATE "C" NOT NULL DEFAULT '';
"""

_SEARCH = """
CREATE INDEX records_by_time ON records (time_ns);
CREATE INDEX records_by_session ON records (session, seq) WHERE kind IN ('session.opened', 'session.closed');
CREATE INDEX records_by_rarer_kind ON records (kind, seq) WHERE kind NOT IN ('call.intent', 'call.outcome');
"""
# For auditors' questions. While they are made, appends wait: about a second for each million records.

_ERASURE = """
CREATE TABLE holds (                    -- legal holds that stand
    id       text COLLATE "C" PRIMARY KEY,
    who      text COLLATE "C" NOT NULL,
    session  text COLLATE "C" NOT NULL,
    from_ns  bigint NOT NULL,
    until_ns bigint NOT NULL,
    reason   text COLLATE "C" NOT NULL,
    seq      bigint NOT NULL            -- the record that says so
);
INSERT INTO meta VALUES ('sweep_due_ns', 0);
GRANT SELECT, INSERT, UPDATE, DELETE ON holds TO mcpgw_gateway;

-- A gateway cannot delete a payload. It can ask for what a record of its own names, in that record's transaction or later.
CREATE FUNCTION erase(by bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    told json;
    named text;
    gone bigint;
    total bigint := 0;
BEGIN
    SELECT convert_from(leaf, 'UTF8')::json -> 'facts' -> 'payloads' INTO STRICT told FROM mcpgw.records
        WHERE seq = by AND kind IN ('payload.shredded', 'retention.swept');
    FOR named IN SELECT json_object_keys(told) LOOP
        DELETE FROM mcpgw.payloads USING (
            SELECT sum(distance::bigint) OVER (ORDER BY number)::bigint AS place
            FROM json_array_elements_text(told -> named) WITH ORDINALITY AS t (distance, number)
        ) AS places WHERE seq = place AND seq < by AND slot = named;
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
    END LOOP;
    RETURN total;
END $$;
REVOKE ALL ON FUNCTION erase FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase TO mcpgw_gateway;
"""

MIGRATIONS = (
    Migration(_V1, oldest=1),
    Migration(_TILES, oldest=1),
    Migration(_SESSIONS, oldest=1),
    Migration(_TERMS, oldest=4),
    Migration(_GRANTS, oldest=4),
    Migration(_OFFERS, oldest=4),
    Migration(_PREVIEWS, oldest=4),
    Migration(_SEARCH, oldest=4),
    Migration(_ERASURE, oldest=4),
)
VERSION = len(MIGRATIONS)
"""What this mcpgw needs the table `migrations` to have reached."""
