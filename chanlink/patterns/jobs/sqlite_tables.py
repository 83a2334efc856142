"""The tables of an SQLite file of jobs, and what is asked of them. Each statement goes by an index.

``jobs`` has a small row for each job, and ``bodies`` its payload, or, once it is done, its result: so a payload is
written once, however often the state of its job changes. The jobs of one state are in the order of their ``rank``:

    waiting     a number that grows: first come, first served
    delayed     when it waits again
    running     NULL
    done        when it ended
    failed      when it ended
"""

from .store import CANCELLED, STATES

WAITING, DELAYED, RUNNING, DONE, FAILED = range(len(STATES))

SCHEMA = f"""
CREATE TABLE jobs(
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    state INTEGER NOT NULL,
    rank,
    attempt INTEGER NOT NULL,
    since INTEGER NOT NULL DEFAULT 0,
    attached INTEGER NOT NULL,
    ended_by INTEGER,
    code TEXT,
    text TEXT,
    returned_by INTEGER,
    returned_for REAL
);
CREATE TABLE bodies(number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE clock(time REAL NOT NULL);
INSERT INTO clock VALUES(0);
CREATE INDEX ranks ON jobs(state, rank);
CREATE INDEX dead ON jobs(id) WHERE state = {FAILED} AND code <> '{CANCELLED}'
"""
"""``ended_by`` is the attempt whose outcome it is, NULL if it was cancelled; ``returned_by`` the last attempt that
wanted another one, and ``returned_for`` how many seconds later. By these, what was counted is known again.

``clock`` is as late as the latest time in the other tables."""

ADD = f"INSERT INTO jobs(id, state, rank, attempt, attached) VALUES(?, {WAITING}, ?, 0, ?) ON CONFLICT DO NOTHING"
ADD_BODY = "INSERT INTO bodies VALUES(?, ?)"
NEXT = (
    "SELECT number, id, body, attempt, attached, since FROM jobs JOIN bodies USING(number)"
    f" WHERE state = {WAITING} ORDER BY rank LIMIT ?"
)
BEGIN = f"UPDATE jobs SET state = {RUNNING}, rank = NULL, attempt = attempt + 1 WHERE number = ?"
FIND = "SELECT number, state, attempt, ended_by, code, text, returned_by, returned_for FROM jobs WHERE id = ?"
BODY = "SELECT body FROM bodies WHERE number = ?"
FINISH = "UPDATE jobs SET state = ?, rank = ?, ended_by = ?, code = ?, text = ? WHERE number = ?"
SET_BODY = "UPDATE bodies SET body = ? WHERE number = ?"
RETURN = "UPDATE jobs SET state = ?, rank = ?, returned_by = ?, returned_for = ? WHERE number = ?"
WAIT = f"UPDATE jobs SET state = {WAITING}, rank = ? WHERE number = ?"
RETRY = (
    f"UPDATE jobs SET state = {WAITING}, rank = ?, since = attempt, ended_by = NULL, code = NULL, text = NULL,"
    " returned_by = NULL, returned_for = NULL WHERE number = ?"
)
DUE = f"SELECT number FROM jobs WHERE state = {DELAYED} AND rank <= ? ORDER BY rank LIMIT ?"
FIRST = "SELECT rank FROM jobs WHERE state = ? ORDER BY rank LIMIT 1"
LAST = f"SELECT rank FROM jobs WHERE state = {WAITING} ORDER BY rank DESC LIMIT 1"
LEFT_RUNNING = f"SELECT number FROM jobs WHERE state = {RUNNING} ORDER BY number"
DEAD = (
    "SELECT id, attempt, code, text FROM jobs INDEXED BY dead"
    f" WHERE state = {FAILED} AND code <> '{CANCELLED}' AND id > ? ORDER BY id LIMIT ?"
)
OLDEST = f"""
SELECT * FROM (SELECT number, state, rank FROM jobs WHERE state = {DONE} ORDER BY rank LIMIT :most)
UNION ALL
SELECT * FROM (SELECT number, state, rank FROM jobs WHERE state = {FAILED} ORDER BY rank LIMIT :most)
ORDER BY rank LIMIT :most
"""
FORGET = "DELETE FROM jobs WHERE number = ?"
FORGET_BODY = "DELETE FROM bodies WHERE number = ?"
COUNT = "SELECT state, count(*) FROM jobs GROUP BY state"
TIME = "SELECT time FROM clock"
SET_TIME = "UPDATE clock SET time = ?"
