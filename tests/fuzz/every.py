"""All targets."""

from . import rexec, targets

TARGETS = targets.TARGETS
assert rexec.POLICIES  # it has added its own
