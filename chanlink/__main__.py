"""``python -m chanlink`` is ``chanlink``."""

import sys

from .command import program

sys.exit(program())
