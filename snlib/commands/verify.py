"""verify: check every record's checksum, derive every table from its records and compare."""

from __future__ import annotations

import argparse
import sys

from snlib import results, tables
from snlib.commands import options as shared
from snlib.errors import require
from snlib.results import Store


def add(commands) -> None:
    """Declare the command."""
    verify = commands.add_parser("verify", help="derive every table from its records and compare")
    shared.add_store(verify)
    verify.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Print one line a mismatch; 1 if there is any."""
    where = results.store(options.store)
    if _empty(where):
        print(f"nothing is recorded in {where.root}.")
        return 0
    wrong = tables.verify(where)
    for line in wrong:
        print(line, file=sys.stderr)
    count = len([*where.records.glob("*.json")])
    print(f"{count} records read; {'tables agree with them' if not wrong else 'mismatch'}.")
    bare = len(results.unsealed(where))
    if bare:
        print(f"{bare} of them carry no checksum: they were made before there was one.")
    return 1 if wrong else 0


def _empty(where: Store) -> bool:
    """Whether a store holds neither a record nor a table.

    Raises:
        UserError: if it is no store, of which nothing could be verified.
    """
    root = where.root
    require(root.is_dir(), f"--store is {root}; there is no such folder. Give one with results.")
    if any(where.records.glob("*.json")) or any(root.glob("*.csv")):
        return False
    # A run that was stopped before its first record leaves a store too.
    begun = where.records.is_dir() or where.work.is_dir() or not any(root.iterdir())
    require(begun, f"--store is {root}; that folder is no store. Give one that holds records/.")
    return True
