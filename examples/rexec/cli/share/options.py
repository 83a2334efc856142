"""The options of ``rexec run`` about sharing."""

import argparse

from ..arguments import seconds

IDLE = 600


def add_sharing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--share",
        action="store_true",
        help="use a session that is kept open for the next call, which is quicker then (see rexec share)",
    )
    parser.add_argument(
        "--share-for",
        metavar="SECONDS",
        type=seconds,
        default=IDLE,
        help=f"how long a shared session is kept when nobody uses it (default: {IDLE})",
    )
