"""Kills of client, server, guard, connection and command at random moments: ``python -m tests.kills``."""
