"""The log of all modules: what the other side has said is printable there."""

import logging

import chanlink

logger = logging.getLogger("rexec")
logger.addFilter(chanlink.PrintableLog())


def log_to_standard_error() -> None:
    """All that is logged by anybody, a line each."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(chanlink.PrintableLog())


def log_problems_only() -> None:
    """For a client: what chanlink logs would be a second line beside the one that says the same to the user."""
    logging.getLogger("chanlink").addHandler(logging.NullHandler())
    if logging.lastResort is not None:
        logging.lastResort.addFilter(chanlink.PrintableLog())
