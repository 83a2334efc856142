"""``python -m chanlink`` is ``chanlink``."""

import sys

from .command import main

sys.exit(main())
