"""Commands that do not end easily."""

from tests.rexec.servers import FAMILY

JOBS = """set -m; sleep 1000 & sleep 1000 & echo $$ $!; wait"""
"""A shell with job control: its jobs are in process groups of their own."""
STUBBORN = f"trap '' TERM HUP INT; {FAMILY}"
