"""merge: bring records and checkpoints home from bundles or other stores."""

from __future__ import annotations

import argparse
import sys

from snlib import merging, results
from snlib.commands import options as shared


def add(commands) -> None:
    """Declare the command."""
    merge = commands.add_parser("merge", help="bring records home from bundles or other stores")
    merge.add_argument("source", nargs="+", help="bundles, every part of a split one, or folders")
    shared.add_store(merge)
    merge.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Merge, and tell what came; 1 if a record was in conflict."""
    where = results.store(options.store)
    report = merging.merge(options.source, where)
    print(f"new          {len(report.new)}")
    if report.extended:
        print(f"extended     {len(report.extended)} records by further measurements")
    if report.mended:
        print(f"mended       {len(report.mended)} records that were damaged here")
    print(f"same         {len(report.same)}")
    print(f"conflicting  {len(report.conflicting)}")
    if report.checkpoints:
        print(f"checkpoints  {len(report.checkpoints)} to go on from")
    if report.at_work:
        print(f"at work      {len(report.at_work)} runs that a process here is computing; left")
    for path in report.tables:
        print(path)
    for line in report.conflicting.values():
        print(f"snlib: {line}", file=sys.stderr)
    return 1 if report.conflicting else 0
