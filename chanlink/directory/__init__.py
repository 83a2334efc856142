"""A directory: where servers are, as they say themselves, by the names that they have registered.

    entries        what a server says of itself, signed by its identity, and how it is read
    problems       what a directory answers to what it does not do
    store          what it needs of whatever keeps entries: five verbs;  rules: whose a name is
    news           what somebody who follows changes has still to be told
    memory         entries for as long as a process lives
    etcd/          entries in etcd, which many directories share
    sqlite         entries in a file;  sqlite_entries, sqlite_tables: what is in it;  found: what was read of it

    interface      what can be called of a directory
    board          the entries in memory, and who follows them;  serving: its two services

    client         `Directory`: who asks;  seen: what that has seen
    registration   `Registration`: a server's entry, kept fresh
    opening        `open_directory`: the one that a text names, or the environment

The room is built on public names; what it needs of the inside nevertheless is listed in ``tests/test_layers.py``.
"""

from .client import Directory
from .entries import Entry
from .etcd.store import EtcdStore
from .memory import MemoryStore
from .opening import names_matching, open_directory
from .problems import BadEntry, DirectoryFull, NameTaken, NotAllowed, OlderSerial, Overtaken, StoreFailed
from .registration import Registration
from .serving import directory_services
from .sqlite import SQLiteStore
from .store import Gone, New, News, Store, Stored

__all__ = [
    "BadEntry",
    "Directory",
    "DirectoryFull",
    "Entry",
    "EtcdStore",
    "Gone",
    "MemoryStore",
    "NameTaken",
    "New",
    "News",
    "NotAllowed",
    "OlderSerial",
    "Overtaken",
    "Registration",
    "SQLiteStore",
    "Store",
    "StoreFailed",
    "Stored",
    "directory_services",
    "names_matching",
    "open_directory",
]
