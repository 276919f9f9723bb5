"""Reading SQL: what a text would do, whatever it is dressed up as."""

import logging
import time
from typing import Any

import pytest

from mcpgw.core.model import Allow, Deny
from mcpgw.policy import Effect, Rule, SqlCondition
from mcpgw.policy.sql import read
from mcpgw.policy.sql_parser import MAX_CHARACTERS, MAX_TOKENS, Unreadable
from mcpgw.policy.sql_words import STATEMENTS
from tests.policy.samples import RISKY, call, policy


@pytest.mark.parametrize(
    ("dialect", "text", "kinds"),
    [
        ("sqlite", "SELECT 1", "select"),
        ("sqlite", "(SELECT 1)", "select"),
        ("sqlite", "VALUES (1)", "select"),
        ("sqlite", "SELECT 1 UNION SELECT 2;", "select"),
        ("postgres", "TABLE accounts", "select"),
        ("sqlite", "-- totals\nSELECT sum(x) /* all */ FROM t", "select"),
        ("sqlite", "SELECT \"drop\", 'delete', [update] FROM `insert`", "select"),
        ("mysql", "SELECT INSERT('a', 1, 2, 'x'), TRUNCATE(1.2, 1), REPLACE('a', 'b', 'c')", "select"),
        ("sqlite", "SELECT 1; DROP TABLE x", "drop select"),
        ("sqlite", ";;SELECT 1;;-- x\n;DELETE FROM t", "delete select"),
        ("postgres", "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "delete select"),
        ("sqlite", "WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a", "insert"),
        ("sqlite", "INSERT OR REPLACE INTO t VALUES (1)", "insert"),
        ("sqlite", "REPLACE INTO t VALUES (1)", "insert"),
        ("sqlite", "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2", "insert update"),
        ("postgres", "EXPLAIN ANALYZE DELETE FROM t", "delete explain"),
        ("postgres", "EXPLAIN (ANALYZE, FORMAT JSON) DELETE FROM t", "delete explain"),
        ("mysql", "EXPLAIN ANALYZE DELETE FROM t", "delete explain"),
        ("sqlite", "EXPLAIN QUERY PLAN SELECT 1", "explain select"),
        ("oracle", "EXPLAIN PLAN FOR SELECT 1", "explain select"),
        ("postgres", "MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE", "delete merge"),
        ("postgres", "SELECT * INTO n FROM t", "into select"),
        ("postgres", "SELECT 1 FROM t FOR UPDATE", "lock select"),
        ("postgres", "SELECT 1 FROM t FOR NO KEY UPDATE", "lock select"),
        ("postgres", "CREATE TABLE a (x int REFERENCES b ON DELETE CASCADE)", "create delete"),
        ("postgres", "CREATE TABLE a AS SELECT * FROM b", "create"),
        ("postgres", "TRUNCATE t", "truncate"),
        ("postgres", "ALTER TABLE t ADD COLUMN c int", "alter"),
        ("postgres", "GRANT ALL ON t TO u", "grant"),
        ("postgres", "REVOKE ALL ON t FROM u", "revoke"),
        ("postgres", "COPY t FROM '/etc/passwd'", "copy"),
        ("postgres", "COPY (SELECT 1) TO PROGRAM 'sh'", "copy"),
        ("sqlite", "PRAGMA writable_schema = 1", "pragma"),
        ("sqlite", "ATTACH 'x.db' AS y", "attach"),
        ("sqlite", "DETACH y", "detach"),
        ("mysql", "SET GLOBAL x = 1", "set"),
        ("mysql", "USE other", "use"),
        ("sqlite", "BEGIN; COMMIT", "transaction"),
        ("bigquery", "EXPORT DATA OPTIONS(uri='x') AS SELECT 1", "copy"),
        # MySQL reads `--1` as arithmetic, so the DROP is real.
        ("mysql", "SELECT 1 --1; DROP TABLE x", "drop select"),
        # A backslash does not escape in standard SQL, so the DROP is real; in MySQL and in E'' it does.
        ("sqlite", r"SELECT '\'; DROP TABLE x; --'", "drop select"),
        ("postgres", r"SELECT '\'; DROP TABLE x; --'", "drop select"),
        ("mysql", r"SELECT '\'; DROP TABLE x; --'", "select"),
        ("postgres", r"SELECT E'\'; DROP TABLE x; --'", "select"),
        ("postgres", "SELECT $$; DROP TABLE x; $$", "select"),
        ("postgres", "SELECT pg_typeof(x), pg_get_viewdef('v'), u & 1 FROM t", "select"),
        ("duckdb", "SELECT * FROM 's3://bucket/x.parquet'", "file select"),
        ("duckdb", "SELECT * FROM 'x.parquet'", "file select"),
    ],
)
def test_what_stands_in_a_text(dialect: str, text: str, kinds: str) -> None:
    reading = read(text, dialect)
    assert " ".join(sorted(reading.kinds)) == kinds
    assert not reading.opaque


@pytest.mark.parametrize(
    ("dialect", "text", "opaque"),
    [
        ("tsql", "SELECT 1 DELETE FROM t", "delete"),  # two statements to SQL Server, an alias to the parser
        ("tsql", "SELECT 1 RECONFIGURE", "unknown"),
        ("tsql", "SELECT a FROM t SHUTDOWN", "unknown"),
        ("oracle", "SELECT utl_http.request('x') FROM dual", "function"),
        ("oracle", "SELECT sys.dbms_xslprocessor.read2clob('a', 'b') FROM dual", "function"),
        ("postgres", "SELECT pg_logical_emit_message(true, 'a', 'b')", "function"),
        ("snowflake", "SELECT SYSTEM$CANCEL_QUERY('x')", "function"),
        ("tsql", "BEGIN DROP TABLE x END", "drop"),
        ("tsql", "IF 1 = 1 DROP TABLE x", "unknown"),
        ("tsql", "IF 1 = 1 ALTER ROLE x ADD MEMBER y", "unknown"),
        ("tsql", "EXEC('DROP TABLE x')", "execute"),
        ("postgres", "DO $$ BEGIN DROP TABLE x; END $$", "do"),
        ("postgres", "CALL p()", "call"),
        ("postgres", "EXECUTE plan", "execute"),
        ("postgres", "REFRESH MATERIALIZED VIEW v", "unknown"),
        ("postgres", "CREATE FUNCTION f() RETURNS int AS $$ DELETE FROM t $$ LANGUAGE sql", "create"),
        ("sqlite", "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END", "unknown"),
        ("sqlite", "VACUUM INTO 'copy.db'", "vacuum"),
        ("sqlite", "SAVEPOINT x", "unknown"),
        ("sqlite", "SELECT $$; DROP TABLE x; $$", "unknown"),  # SQLite has no dollar quotes, so the DROP is real
        ("sqlite", "SELECT load_extension('x')", "function"),
        ("postgres", "SELECT pg_catalog.\"pg_read_file\"('/etc/passwd')", "function"),
        ("postgres", "SELECT * FROM dblink('x', 'DELETE FROM t') AS t(a int)", "function"),
        ("postgres", "SELECT nextval('s')", "function"),
        ("postgres", "SELECT * FROM ts_stat('SELECT to_tsvector(ssn) FROM secrets')", "function"),  # SQL in a string
        ("postgres", "SELECT ts_rewrite('a'::tsquery, 'SELECT a, b FROM secrets')", "function"),
        ("postgres", "SELECT * FROM crosstab2('SELECT a, b, c FROM secrets')", "function"),
        ("postgres", "SELECT * FROM connectby('secrets', 'a', 'b', 'c', 0) AS t(a int)", "function"),
        ("postgres", "SELECT * FROM xpath_table('a', 'b', 'secrets', '/', 'true') AS t(a int)", "function"),
        ("oracle", "SELECT httpuritype('http://x').getclob() FROM dual", "function"),
        ("mysql", "SELECT LOAD_FILE('/etc/passwd')", "function"),
        ("tsql", "SELECT * FROM OPENROWSET('a', 'b', 'c')", "function"),
        ("duckdb", "SELECT * FROM read_csv('/etc/passwd')", "function"),
        ("bigquery", "EXPORT DATA OPTIONS(uri='x') AS SELECT nextval('s')", "function"),
    ],
)
def test_what_cannot_be_seen_is_said_to_be_opaque(dialect: str, text: str, opaque: str) -> None:
    reading = read(text, dialect)
    assert opaque in reading.opaque
    assert reading.opaque <= reading.kinds <= set(STATEMENTS)


@pytest.mark.parametrize(
    ("dialect", "text", "says"),
    [
        ("sqlite", "", "no statement"),
        ("sqlite", "/* only */ ;; -- comments", "no statement"),
        ("mysql", "/*!50000 DROP TABLE x */", "no statement"),
        ("mysql", "SELECT 1 /*!50000 ; DROP TABLE x */", "MySQL would execute"),
        ("mysql", "SELECT 1 /*M!50000 ; DROP TABLE x */", "MySQL would execute"),
        ("postgres", "SELECT 1 /* /* */; DROP TABLE x -- */", "comment in a comment"),
        ("sqlite", "SELECT 1 /* /* */; DROP TABLE x -- */", "comment in a comment"),
        ("postgres", 'SELECT U&"s\\0073n" FROM customers', "Unicode escapes"),
        ("postgres", "SELECT u&\"pg_read\\005ffile\"('/etc/passwd')", "Unicode escapes"),
        ("sqlite", "SELECT 1\0; DROP TABLE x", "NUL"),
        ("sqlite", "SELECT FROM WHERE", "cannot be parsed"),
        ("sqlite", "SELECT 'open", "cannot be parsed"),
        ("postgres", "SELECT 1; \\! sh", "cannot be parsed"),
        ("mysql", "SELECT 1 INTO OUTFILE '/x'", "cannot be parsed"),
        ("tsql", "SELECT a FROM t DROP TABLE x", "cannot be parsed"),
        ("postgres", "EXPLAIN", "no statement"),
        ("postgres", "EXPLAIN EXPLAIN SELECT 1", "command in a command"),
        ("postgres", "EXPLAIN ANALYZE EXECUTE plan", "command in a command"),
        ("sqlite", "SELECT '" + "x" * MAX_CHARACTERS + "'", "characters"),
        ("sqlite", "SELECT 1" + "+1" * MAX_TOKENS, "words"),
        ("postgres", "EXPLAIN SELECT 1;" * 101, "more than 100 statements"),
        ("sqlite", "SELECT " + "(" * 3000 + "1" + ")" * 900, "cannot be parsed"),
        ("sqlite", "SELECT " + "NOT " * 3000 + "1", "cannot be parsed"),
        ("sqlite", "SELECT " + "CASE WHEN 1 THEN " * 300 + "1" + " END" * 300, "cannot be parsed"),
        ("postgres", "SELECT " + "ARRAY[" * 22 + "1" + "]" * 22, "too many steps"),
        ("sqlite", "CREATE TABLE x (a " + "varchar(" * 22 + "1" + ")" * 22 + ")", "too many steps"),
        ("postgres", "SELECT " + "STRUCT(" * 30 + "1" + ")" * 30, "too many steps"),
    ],
)
def test_what_cannot_be_understood_is_refused_soon(dialect: str, text: str, says: str) -> None:
    started = time.perf_counter()
    with pytest.raises(Unreadable, match=says):
        read(text, dialect)
    assert time.perf_counter() - started < 2


def test_a_real_query_leaves_much_of_the_step_budget() -> None:
    columns = ", ".join(f"CASE WHEN t.c{n} > {n} THEN coalesce(t.c{n}, 0) ELSE -1 END AS c{n}" for n in range(60))
    text = f"WITH t AS (SELECT * FROM x WHERE a IN (1, 2) AND (b = 'c' OR d IS NULL)) SELECT {columns} FROM t GROUP BY 1"
    for dialect in ("sqlite", "postgres", "mysql", "tsql", "duckdb", "snowflake", "bigquery", "oracle"):
        assert read(text, dialect).kinds == {"select"}


def test_the_text_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        read("VACUUM INTO 'secret.db'", "sqlite")
        read("EXPLAIN SELECT 'secret'", "postgres")
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("dialect", "text", "tables", "written"),
    [
        ("sqlite", 'SELECT * FROM Main."Accounts" JOIN [b] USING (x)', "b main.accounts", ""),
        ("sqlite", "SELECT (SELECT 1 FROM hidden) FROM t WHERE EXISTS (SELECT 1 FROM deeper)", "deeper hidden t", ""),
        ("sqlite", "SELECT * FROM 'accounts'", "accounts", ""),
        ("sqlite", "INSERT INTO a SELECT * FROM b", "a b", "a"),
        ("sqlite", "INSERT INTO a (x) VALUES (1)", "a", "a"),
        ("postgres", "UPDATE a SET x = b.y FROM b WHERE a.i = b.i", "a b", "a"),
        ("mysql", "UPDATE a JOIN b ON a.i = b.i SET b.x = 1", "a b", "a b"),
        ("mysql", "DELETE b FROM a JOIN b ON a.i = b.i", "a b", "a b"),
        ("postgres", "DROP TABLE a, s.b", "a s.b", "a s.b"),
        ("postgres", "TRUNCATE a, b", "a b", "a b"),
        ("postgres", "ALTER TABLE a RENAME TO b", "a b", "a b"),
        ("postgres", "SELECT * INTO n FROM t", "n t", "n"),
        ("postgres", "SELECT 1 FROM f(1)", "", ""),
    ],
)
def test_which_tables_a_text_names(dialect: str, text: str, tables: str, written: str) -> None:
    reading = read(text, dialect)
    assert " ".join(sorted(".".join(name) for name in reading.tables)) == tables
    assert " ".join(sorted(".".join(name) for name in reading.written)) == written


def condition(**criteria: Any) -> SqlCondition:
    return SqlCondition(**{"argument": "query", "dialect": "sqlite", **criteria})


@pytest.mark.parametrize(
    ("criteria", "text", "says"),
    [
        ({"statements": ("drop", "delete")}, "SELECT 1", ""),
        ({"statements": ("drop", "delete")}, "SELECT 1; DROP TABLE x; DELETE FROM y", "the SQL holds delete, drop"),
        ({"statements": ("drop",)}, "VACUUM", "whose effects cannot be seen (vacuum)"),
        ({"statements": ("vacuum",)}, "VACUUM", "the SQL holds vacuum"),
        ({"allow_only": ("select",)}, "SELECT 1; SELECT 2", ""),
        ({"allow_only": ("select",)}, "SELECT 1; PRAGMA x", "the SQL is more than select: pragma"),
        ({"allow_only": ("select",)}, "SELECT load_extension('x')", "more than select: function"),
        ({"allow_only": ("select", "vacuum")}, "VACUUM", ""),
        ({"allow_only": ("select", "vacuum"), "tables": ("t",)}, "VACUUM", "cannot be seen"),
        ({"tables": ("accounts",)}, "SELECT * FROM main.ACCOUNTS", "a table of `tables`"),
        ({"tables": ("main.accounts",)}, "SELECT * FROM accounts", "a table of `tables`"),
        ({"tables": ("other.accounts",)}, "SELECT * FROM main.accounts", ""),
        ({"tables": ("acc*",)}, "SELECT 1 FROM t WHERE x IN (SELECT 1 FROM accounts)", "a table of `tables`"),
        ({"tables": ("accounts",)}, "SELECT 'accounts' AS accounts", ""),
        ({"write_tables": ("accounts",)}, "SELECT * FROM accounts", ""),
        ({"write_tables": ("accounts",)}, "INSERT INTO log SELECT * FROM accounts", ""),
        ({"write_tables": ("accounts",)}, "UPDATE accounts SET x = 1 WHERE y", "writes a table"),
        ({"columns": ("SSN",)}, "SELECT name FROM customers", ""),
        ({"columns": ("ssn",)}, "SELECT name FROM customers ORDER BY Ssn", "a column of `columns`"),
        ({"columns": ("ssn",)}, 'SELECT c."ssn" FROM customers c', "a column of `columns`"),
        ({"columns": ("ssn",)}, "SELECT * FROM customers", "a column of `columns`"),
        ({"columns": ("ssn",)}, "SELECT c.* FROM customers c", "a column of `columns`"),
        ({"columns": ("ssn",)}, "SELECT count(*) FROM customers", ""),
        ({"columns": ("ssn",), "dialect": "postgres"}, "SELECT row_to_json(c) FROM customers c", "a column of `columns`"),
        ({"columns": ("ssn",)}, "INSERT INTO customers VALUES (1)", "a column of `columns`"),
        ({"columns": ("ssn",), "dialect": "postgres"}, "SELECT b FROM customers AS c(a, b)", "a column of `columns`"),
        ({"columns": ("ssn",), "dialect": "postgres"}, "COPY customers TO STDOUT", "a column of `columns`"),
        ({"columns": ("ssn",), "dialect": "postgres"}, "COPY customers (name) TO STDOUT", ""),
        ({"columns": ("ssn",)}, "INSERT INTO customers (name) VALUES (1)", ""),
        ({"functions": ("json_*",)}, "SELECT JSON_EXTRACT(x, '$.a') FROM t", "a function of `functions`"),
        ({"functions": ("sum",)}, "SELECT SUM(x) FROM t", "a function of `functions`"),
        ({"functions": ("mine",)}, "SELECT theirs(x) FROM t", ""),
        ({"without_where": True}, "DELETE FROM t", "every row"),
        ({"without_where": True}, "DELETE FROM t WHERE 1 = 1", "every row"),
        ({"without_where": True}, "UPDATE t SET x = 1 WHERE true", "every row"),
        ({"without_where": True}, "DELETE FROM t WHERE id = 1", ""),
        ({"without_where": True}, "SELECT 1; DELETE FROM t", "every row"),
        ({"statements": ("drop",)}, "SELECT FROM", "cannot judge its SQL, which cannot be parsed"),
    ],
)
def test_a_condition_finds_what_it_names_and_what_it_cannot_rule_out(criteria: Any, text: str, says: str) -> None:
    judge = policy(Rule(id="sql", effect=Effect.DENY, sql=condition(**criteria)))
    decision = judge.decide(call({"query": text}))
    assert isinstance(decision, Deny if says else Allow), judge.explain(call({"query": text}))
    assert says in judge.explain(call({"query": text})).findings[0].why


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "'request.query', which is not there"),
        ({"request": {}}, "'request.query', which is not there"),
        ({"request": "SELECT 1"}, "'request.query', which is not there"),
        ({"request": {"query": ["SELECT 1"]}}, "'request.query', which is no text"),
        ({"request": {"query": "SELECT 1"}}, ""),
    ],
)
def test_sql_that_is_not_where_the_rule_looks_denies(arguments: dict[str, Any], says: str) -> None:
    rule = Rule(id="sql", effect=Effect.DENY, sql=condition(argument="request.query", statements=("drop",)))
    decision = policy(rule).decide(call(arguments))
    assert isinstance(decision, Deny if says else Allow)
    assert says in decision.ruling.reason


@pytest.mark.parametrize(
    ("text", "lifted"),
    [
        ("SELECT * FROM accounts", True),
        ("SELECT 1; DELETE FROM accounts WHERE id = 1", False),
        ("SELECT load_extension('x')", False),
        ("SELECT FROM", False),
    ],
)
def test_an_allow_rule_lifts_risk_from_sql_that_is_only_what_it_names(text: str, lifted: bool) -> None:
    lift = Rule(
        id="reads",
        effect=Effect.ALLOW,
        tools=(RISKY.name,),
        sql=condition(allow_only=("select",)),
        lifts_risk=True,
    )
    assert isinstance(policy(lift).decide(call({"query": text}, to=RISKY)), Allow) is lifted


def test_when_and_sql_must_both_hold() -> None:
    rule = Rule(id="r", effect=Effect.DENY, when="args.live", sql=condition(statements=("drop",)))
    assert isinstance(policy(rule).decide(call({"live": True, "query": "DROP TABLE x"})), Deny)
    assert isinstance(policy(rule).decide(call({"live": False, "query": "DROP TABLE x"})), Allow)
    assert isinstance(policy(rule).decide(call({"live": True, "query": "SELECT 1"})), Allow)
