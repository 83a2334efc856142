"""A daemon under load, for minutes: ``python -m tests.daemon_load``."""
