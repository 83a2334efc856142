"""The table of an SQLite file of a directory, and what is asked of it. Each statement goes by an index.

An owner is a row, with its entry, if it has one: then ``until`` is when that ends.
"""

APPLICATION = int.from_bytes(b"chld", "big")
VERSION = 1
"""Of the tables, as ``user_version``. A file of another one is not touched."""

SCHEMA = """
CREATE TABLE owners(
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    key BLOB NOT NULL,
    listed INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    until REAL,
    entry BLOB,
    sshsig BLOB,
    prekeys BLOB,
    UNIQUE(name, key)
);
CREATE INDEX keys ON owners(key);
CREATE INDEX ends ON owners(until) WHERE until IS NOT NULL;
CREATE TABLE clock(time REAL NOT NULL);
INSERT INTO clock VALUES(0)
"""
"""``clock`` is as late as the latest time that was written."""

_STORED = "SELECT name, key, serial, until, entry, sshsig, prekeys FROM owners"
OWNERS = "SELECT key, listed, serial FROM owners WHERE name = ?"
FIND = f"{_STORED} WHERE name = ? AND until > ?"
FIND_ONE = f"{_STORED} WHERE name = ? AND key = ? AND until > ?"
PAGE = f"{_STORED} WHERE (name, key) > (?, ?) AND until > ? ORDER BY name, key LIMIT ?"
PUT = """
INSERT INTO owners(name, key, listed, serial, until, entry, sshsig, prekeys) VALUES(?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(name, key) DO UPDATE SET listed = excluded.listed, serial = excluded.serial, until = excluded.until,
    entry = excluded.entry, sshsig = excluded.sshsig, prekeys = excluded.prekeys
"""
WITHDRAW = "UPDATE owners SET until = NULL, entry = NULL, sshsig = NULL, prekeys = NULL WHERE name = ? AND key = ?"
ENDED = "SELECT number FROM owners WHERE until IS NOT NULL AND until <= ? ORDER BY until LIMIT ?"
FORGET_ENDED = "UPDATE owners SET until = NULL, entry = NULL, sshsig = NULL, prekeys = NULL WHERE number = ?"
REMOVE = "DELETE FROM owners WHERE name = ?"
REMOVE_OWNER = "DELETE FROM owners WHERE name = ? AND key = ?"
NAMES = "SELECT count(DISTINCT name) FROM owners"
NAMES_OF_KEY = "SELECT count(*) FROM owners WHERE key = ?"
TIME = "SELECT time FROM clock"
SET_TIME = "UPDATE clock SET time = ?"
