"""The tables of a queue, and what each index is for. Each queue has a schema of its own, which its name is part of.

So a queue is dropped as a whole, and its statements name no queue: each finds its rows by the one index that fits.
Ids, codes and texts are bytes (UTF-8), as a database may have another encoding, and its texts no zero character.
"""

import re
from typing import TYPE_CHECKING

from chanlink.errors import ConfigError

if TYPE_CHECKING:
    from psycopg import Connection

VERSION = 1
OLDEST_SERVER = 130000
"""The first PostgreSQL that shows the numbers of transactions which are never used again."""
CREATING = 0x6368616E_6C696E6B
"""The advisory lock of whoever creates the tables: two processes that start at once would both find none."""
NAME = re.compile(r"[a-z0-9_-]{1,40}")

TABLES = f"""
CREATE TABLE about (version integer NOT NULL);
INSERT INTO about VALUES ({VERSION});

-- The processes that have the queue open. `beat` changes while one lives: others see that, and need no clock for it.
CREATE TABLE stores (id uuid PRIMARY KEY, beat bigint NOT NULL) WITH (fillfactor = 50);

CREATE SEQUENCE turns;

CREATE TABLE jobs (
    id bytea PRIMARY KEY,
    payload bytea NOT NULL,      -- empty once it is done
    attached boolean NOT NULL,
    home uuid,                   -- the store in which an attached job may begin; NULL: in any
    state text NOT NULL,         -- waiting, delayed, running, done, failed
    attempt integer NOT NULL DEFAULT 0,
    since integer NOT NULL DEFAULT 0,        -- the newest attempt when it was last let begin anew by hand
    ended_by integer NOT NULL DEFAULT 0,     -- the attempt whose outcome it has; 0: none, or it was cancelled
    returned_by integer NOT NULL DEFAULT 0,  -- the last attempt that wanted another one
    returned_for float8 NOT NULL DEFAULT 0,  -- and how many seconds later
    turn bigint NOT NULL,        -- the order of those that wait
    store uuid,                  -- the store that has begun or ended it
    batch bigint,                -- the call by which it has begun
    news xid8,                   -- the transaction in which that was, or in which it last had progress
    progress bytea,
    asked timestamptz,           -- if delayed: since when
    due timestamptz,             -- and until when
    result bytea,
    code bytea,
    text bytea,
    ended timestamptz
-- Each row is written thrice and deleted: what is dead is to be cleared away before the table has doubled.
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);

CREATE INDEX jobs_next ON jobs (turn) WHERE state = 'waiting' AND home IS NULL;
CREATE INDEX jobs_next_here ON jobs (home, turn) WHERE state = 'waiting' AND home IS NOT NULL;
CREATE INDEX jobs_due ON jobs (due) WHERE state = 'delayed';
CREATE INDEX jobs_asked ON jobs (asked) WHERE state = 'delayed';
CREATE INDEX jobs_running ON jobs (store) WHERE state = 'running';
CREATE INDEX jobs_news ON jobs (news) WHERE news IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (ended) WHERE ended IS NOT NULL;
CREATE INDEX jobs_done ON jobs (id) WHERE state = 'done';
CREATE INDEX jobs_failed ON jobs (id) WHERE state = 'failed';
"""


def schema_of(queue: str) -> str:
    """Raises `ValueError` for what is no name of a queue."""
    if NAME.fullmatch(queue) is None:
        raise ValueError("the name of a queue has 1 to 40 of a-z, 0-9, - and _")
    return f"chanlink_queue_{queue}"


def prepare(connection: "Connection", schema: str) -> None:
    """Create the tables if they are missing. Raises `ConfigError` and psycopg's errors."""
    from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

    if connection.info.server_version < OLDEST_SERVER:
        raise ConfigError(f"a queue needs PostgreSQL {OLDEST_SERVER // 10000} or newer")
    try:
        _prepare(connection, schema)
    except (InsufficientPrivilege, ReadOnlySqlTransaction) as exc:
        raise ConfigError(f"a queue can't be kept in this database: {exc.diag.message_primary}") from exc


def _prepare(connection: "Connection", schema: str) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (CREATING,))
        if not _one(connection, "SELECT count(*) FROM pg_namespace WHERE nspname = %s", schema):
            connection.execute(f'CREATE SCHEMA "{schema}"')
            connection.execute(TABLES)
        if (version := _one(connection, "SELECT version FROM about")) != VERSION:
            raise ConfigError(f"the tables of this queue are of version {version}, and this chanlink has {VERSION}")


def _one(connection: "Connection", query: str, *values: object) -> int:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return int(row[0])
