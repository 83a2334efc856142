"""All targets."""

from . import copies, rexec, targets

TARGETS = targets.TARGETS
assert rexec.POLICIES  # they have added their own
assert copies.FOLDER
