"""The statements of a store, but for those of its tables.

`me` is the id of the store. Lists of jobs come as arrays, so that a statement is one for however many, and
`WITH ORDINALITY` keeps their order.

**One way to do each.** A plan is kept for long, and may have been made when the table was empty, where all ways cost
the same. So rows to be changed are looked up by their id, or by the one index that is for this, in a subquery that
can't be taken apart (``OFFSET 0``, or locks), and are then changed by their place, `ctid`.
"""

import random

from chanlink.patterns.jobs.store import STATES

# --- in a transaction of moves ---

_COLUMNS = """
    id, state, attempt, since, attached, home::text, store::text, ended_by, returned_by, returned_for, progress,
    result, code, text
"""
READ = f"SELECT {_COLUMNS} FROM jobs WHERE id = ANY(%(ids)b::bytea[]) ORDER BY id"
LOCK = f"{READ} FOR UPDATE"
ADD = """
INSERT INTO jobs (id, payload, attached, home, state, turn)
SELECT id, payload, attached, CASE WHEN attached THEN %(me)s::uuid END, 'waiting', turn FROM (
    SELECT *, nextval('turns') AS turn
    FROM unnest(%(ids)b::bytea[], %(payloads)b::bytea[], %(attached)b::boolean[]) WITH ORDINALITY
    AS new (id, payload, attached, place) ORDER BY place
) AS new ORDER BY id
"""
"""In the order of ids. When another transaction has added one of them meanwhile, it is done anew."""
COME_HOME = "UPDATE jobs SET home = %(me)s::uuid WHERE id = ANY(%(ids)b::bytea[])"
_ITS_ROW = """LATERAL (SELECT ctid AS place FROM jobs WHERE jobs.id = given.id OFFSET 0) AS found
WHERE jobs.ctid = found.place"""
_HOME = "(SELECT id FROM stores WHERE id = jobs.home)"
"""If that is still there."""
COME_BACK = f"""
UPDATE jobs SET state = given.state, since = given.since, turn = given.turn, home = {_HOME},
    returned_by = given.returned_by, returned_for = given.after, ended_by = 0,
    store = NULL, progress = NULL, result = NULL, code = NULL, text = NULL, ended = NULL,
    asked = CASE WHEN given.state = 'delayed' THEN clock_timestamp() END,
    due = CASE WHEN given.state = 'delayed' THEN clock_timestamp() + given.after * interval '1 second' END
FROM (
    SELECT *, nextval('turns') AS turn FROM unnest(
        %(ids)b::bytea[], %(states)b::text[],
        %(counted_since)b::integer[], %(returned_by)b::integer[], %(afters)b::float8[]
    ) WITH ORDINALITY AS given (id, state, since, returned_by, after, number) ORDER BY number
) AS given, {_ITS_ROW}
"""
END = f"""
UPDATE jobs SET state = given.state, ended = clock_timestamp(),
    since = given.since, returned_by = given.returned_by, returned_for = given.after,
    payload = CASE WHEN given.state = 'done' THEN '' ELSE payload END,
    result = CASE WHEN given.state = 'done' THEN given.result END,
    code = CASE WHEN given.state = 'failed' THEN given.code END,
    text = CASE WHEN given.state = 'failed' THEN given.text END,
    ended_by = given.ended_by, store = %(me)s::uuid, news = pg_current_xact_id(),
    progress = NULL, asked = NULL, due = NULL
FROM unnest(
    %(ids)b::bytea[], %(states)b::text[], %(ended_by)b::integer[], %(results)b::bytea[], %(codes)b::bytea[],
    %(texts)b::bytea[], %(counted_since)b::integer[], %(returned_by)b::integer[], %(afters)b::float8[]
) AS given (id, state, ended_by, result, code, text, since, returned_by, after), {_ITS_ROW}
"""
SAY = f"""
UPDATE jobs SET progress = given.progress, news = pg_current_xact_id()
FROM unnest(%(ids)b::bytea[], %(said)b::bytea[]) AS given (id, progress), {_ITS_ROW}
"""
LIVE = "INSERT INTO stores (id, beat) VALUES (%(me)s::uuid, %(beat)s) ON CONFLICT DO NOTHING"
"""Whoever was taken for dead is there again before it has jobs."""
RELEASE = f"""
UPDATE jobs SET state = 'waiting', turn = given.turn, asked = NULL, due = NULL, home = {_HOME}
FROM (
    SELECT place, nextval('turns') AS turn FROM (
        SELECT ctid AS place, due FROM jobs WHERE state = 'delayed' AND due <= now()
        ORDER BY due LIMIT 1000 FOR UPDATE SKIP LOCKED
    ) AS due ORDER BY due
) AS given WHERE jobs.ctid = given.place
"""
"""What is not delayed any more waits."""
# Jobs that may begin in any store, and attached ones that may in this, have an index each. How many of both are next
# is asked without locks, so that no more is locked than begins: what one store has locked the others pass over.
BEGIN = """
WITH next AS MATERIALIZED (
    SELECT home FROM (
        (SELECT turn, home FROM jobs WHERE state = 'waiting' AND home IS NULL ORDER BY turn LIMIT %(most)s)
        UNION ALL
        (SELECT turn, home FROM jobs WHERE state = 'waiting' AND home = %(me)s::uuid ORDER BY turn LIMIT %(most)s)
    ) AS next ORDER BY turn LIMIT %(most)s
), anywhere AS MATERIALIZED (
    SELECT ctid AS place FROM jobs WHERE state = 'waiting' AND home IS NULL
    ORDER BY turn LIMIT (SELECT count(*) FROM next WHERE home IS NULL) FOR UPDATE SKIP LOCKED
), here AS MATERIALIZED (
    SELECT ctid AS place FROM jobs WHERE state = 'waiting' AND home = %(me)s::uuid
    ORDER BY turn LIMIT (SELECT count(*) FROM next WHERE home IS NOT NULL) FOR UPDATE SKIP LOCKED
)
UPDATE jobs
SET state = 'running', attempt = attempt + 1, store = %(me)s::uuid, batch = %(batch)s, news = pg_current_xact_id()
FROM (SELECT place FROM anywhere UNION ALL SELECT place FROM here) AS next WHERE jobs.ctid = next.place
RETURNING turn, id, payload, attempt, attached, since
"""
GIVE_BACK = f"""
UPDATE jobs SET state = 'waiting', turn = nextval('turns'), store = NULL, home = {_HOME} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM jobs WHERE state = 'running' AND store = %(me)s::uuid AND batch = ANY(%(batches)b::bigint[])
    ORDER BY id FOR UPDATE
))
"""
"""What has begun, and nobody has heard of it."""
NOTIFY = """
SELECT pg_notify(%(channel)s, %(said)s)
WHERE %(said)s = '' OR EXISTS (SELECT FROM stores WHERE id <> %(me)s::uuid)
"""
"""What a store itself has to hear is the empty text. All commits that notify wait for each other: none does alone."""
_COUNT = {state: f"(SELECT count(*) FROM jobs WHERE state = '{state}')" for state in STATES}
_COUNT["waiting"] = " + ".join(
    f"(SELECT count(*) FROM jobs WHERE state = 'waiting' AND home IS {home})" for home in ("NULL", "NOT NULL")
)
COUNTS = "SELECT " + ", ".join(_COUNT[state] for state in STATES)
FAILED = f"""
SELECT {_COLUMNS} FROM jobs
WHERE state = 'failed' AND code <> 'cancelled' AND id > %(after)b ORDER BY id LIMIT %(most)s
"""
BEAT = """
INSERT INTO stores AS store (id, beat) VALUES (%(me)s::uuid, %(beat)s)
ON CONFLICT (id) DO UPDATE SET beat = store.beat + 1 RETURNING beat
"""

# --- what the others do, and what time does ---

LOOK = """
SELECT pg_current_snapshot()::text,
    EXISTS (SELECT FROM jobs WHERE state = 'waiting' AND home IS NULL)
    OR EXISTS (SELECT FROM jobs WHERE state = 'waiting' AND home = %(me)s::uuid),
    (SELECT extract(epoch FROM due - clock_timestamp())::float8 FROM jobs
     WHERE state = 'delayed' ORDER BY due LIMIT 1),
    coalesce(array_agg(id) FILTER (WHERE state IN ('done', 'failed')), '{}'),
    coalesce(array_agg(id) FILTER (WHERE state = 'running'), '{}')
FROM (
    SELECT id, state, store FROM jobs
    WHERE news >= %(since)s::xid8 AND news < pg_snapshot_xmax(pg_current_snapshot())
    UNION ALL
    SELECT id, state, store FROM jobs WHERE news = ANY(%(under_way)s::xid8[])
) AS news WHERE store <> %(me)s::uuid
"""
"""The news of transactions that an earlier snapshot has not seen: those that began later, and those under way then.

Numbers that are still to come are in a database that was restored from a copy of another one.
"""
SNAPSHOT = "SELECT pg_current_snapshot()::text"
NOT_BEFORE_ASKED = """
UPDATE jobs SET due = now() WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM jobs WHERE state = 'delayed'
    AND asked > now() + interval '1 second' AND asked > clock_timestamp() + interval '1 second' FOR UPDATE SKIP LOCKED
))
"""
"""The clock was set back behind the moment in which these were delayed, and nobody knows how long they would wait."""
BEATS = "SELECT id::text, beat FROM stores WHERE id <> %(me)s::uuid"
BURY = "DELETE FROM stores WHERE id = %(dead)s::uuid AND beat = %(beat)s"
"""Unless it has given a sign of life meanwhile."""
TAKE_BACK = f"""
UPDATE jobs SET state = 'waiting', turn = given.turn, store = NULL, progress = NULL, home = {_HOME}
FROM (
    SELECT place, nextval('turns') AS turn FROM (
        SELECT ctid AS place, turn FROM jobs
        WHERE state = 'running' AND NOT EXISTS (SELECT FROM stores WHERE stores.id = jobs.store) FOR UPDATE SKIP LOCKED
    ) AS lost ORDER BY turn
) AS given WHERE jobs.ctid = given.place
"""
"""What ran where there is no store any more waits."""
LEAVE_HOME = """
UPDATE jobs SET home = NULL WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM jobs WHERE state = 'waiting' AND home IS NOT NULL
    AND NOT EXISTS (SELECT FROM stores WHERE stores.id = jobs.home) FOR UPDATE SKIP LOCKED
))
"""
"""What was to begin there may begin anywhere."""
OLDEST = """
SELECT greatest(
    now() - %(keep)s * interval '1 second',
    (SELECT ended FROM jobs WHERE ended IS NOT NULL ORDER BY ended DESC OFFSET %(most_ended)s LIMIT 1)
)
"""
"""What ended then, or before, is to be forgotten."""
FORGET = """
DELETE FROM jobs WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM jobs WHERE ended <= %(oldest)s ORDER BY ended LIMIT %(most)s FOR UPDATE SKIP LOCKED
))
"""
LEAVE = "DELETE FROM stores WHERE id = %(me)s::uuid"


def random_number() -> int:
    """As the beat with which a store begins to count, or as that of a batch: nobody has had it before."""
    return random.getrandbits(60)
