"""verify: check every record's checksum, derive every table from its records and compare."""

from __future__ import annotations

import argparse
import sys

from snlib import results, tables
from snlib.commands import options as shared


def add(commands) -> None:
    """Declare the command."""
    verify = commands.add_parser("verify", help="derive every table from its records and compare")
    shared.add_store(verify)
    verify.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Print one line a mismatch; 1 if there is any."""
    where = results.store(options.store)
    wrong = tables.verify(where)
    for line in wrong:
        print(line, file=sys.stderr)
    count = len([*where.records.glob("*.json")])
    print(f"{count} records read; {'tables agree with them' if not wrong else 'mismatch'}.")
    bare = len(results.unsealed(where))
    if bare:
        print(f"{bare} of them carry no checksum: they were made before there was one.")
    return 1 if wrong else 0
