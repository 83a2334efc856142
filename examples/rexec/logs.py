"""The log of all modules, in which everything that the other side has said is made printable."""

import logging

import chanlink

logger = logging.getLogger("rexec")
logger.addFilter(chanlink.PrintableLog())


def log_to_standard_error() -> None:
    """Whatever anybody logs, a line each."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(chanlink.PrintableLog())


def log_problems_only() -> None:
    """For a client: a line logged by chanlink would only repeat what the user is told anyway."""
    logging.getLogger("chanlink").addHandler(logging.NullHandler())
    if logging.lastResort is not None:
        logging.lastResort.addFilter(chanlink.PrintableLog())
