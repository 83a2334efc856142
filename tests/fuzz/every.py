"""All targets."""

from . import authority, calls, copies, daemon, early, entries, rexec, targets, web

TARGETS = targets.TARGETS
assert rexec.POLICIES  # they have added their own
assert copies.FOLDER
assert calls.SHOP
assert early.STATIC
assert entries.KEY
assert authority.ALICE
assert daemon.SORTS
assert web.ADDRESS
