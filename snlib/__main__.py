"""The command line: python -m snlib run | list | status | verify | claims | bundle | merge."""

from __future__ import annotations

import argparse
import os
import sys

from snlib.commands import COMMANDS
from snlib.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 fine, 1 some runs failed, 2 wrong input."""
    options = parser().parse_args(arguments)
    try:
        status = options.command(options)
        sys.stdout.flush()  # here, where a reader that has left is no error
        return status
    except UserError as error:
        print(f"snlib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nStopped. Finished records are whole, and long runs left a checkpoint; "
            "the same command goes on from there.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # `python -m snlib list | head`
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # where the rest goes as the interpreter ends
        os.close(nowhere)
        return 0
    except OSError as error:  # a folder that may not be written, a file that may not be read
        if error.filename is None:
            raise
        print(f"snlib: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="python -m snlib", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
