"""The program ``rexec``, also ``python -m examples.rexec``.

A call that another process does the work for must be quick: it imports nothing of the rest.
"""

import sys

from .descriptors import fill_standard_descriptors


def main() -> int:
    """The command ``rexec``; returns its exit status."""
    fill_standard_descriptors()
    argv = sys.argv[1:]
    if argv[:1] == ["run"] and "--share" in argv[: argv.index("--") if "--" in argv else None]:
        from .share_client import run_shared

        return run_shared(argv)
    from .cli import main

    return main()


if __name__ == "__main__":
    raise SystemExit(main())
