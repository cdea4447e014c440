"""bundle: records and checkpoints of experiments in one file, to carry elsewhere."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from snlib import bundles, experiments, provenance, results
from snlib.commands import options as shared
from snlib.errors import require
from snlib.results import Store


def add(commands) -> None:
    """Declare the command."""
    bundle = commands.add_parser("bundle", help="put records and checkpoints into a file to carry")
    bundle.add_argument("file", type=Path, help="such as results.zip")
    bundle.add_argument("experiment", nargs="+", help="names as `list` shows them, or: all")
    add_split(bundle)
    bundle.add_argument("--records-only", action="store_true", help="leave checkpoints here")
    shared.add_scale(bundle)
    shared.add_store(bundle)
    bundle.set_defaults(command=execute)


def add_split(command: argparse.ArgumentParser) -> None:
    """`--split`, with a size or without."""
    command.add_argument(
        "--split",
        nargs="?",
        const="16M",
        metavar="SIZE",
        help="cut the bundle into files of at most SIZE, such as 500K or 16M (default 16M)",
    )


def execute(options: argparse.Namespace) -> int:
    """Write the bundle and print its files."""
    scale, names = shared.scale(options), shared.names(options)
    where, part_bytes = results.store(options.store), shared.size(options.split)
    runs = experiments.plan(names, scale)
    written = pack(
        options.file,
        where,
        [run.name for run in runs],
        names,
        scale,
        part_bytes,
        checkpoints=not options.records_only,
    )
    require(bool(written), f"nothing is recorded of these {len(runs)} runs in {where.root}.")
    return 0


def pack(
    path: Path,
    where: Store,
    runs: list[str],
    names: list[str],
    scale: str,
    part_bytes: int | None,
    *,
    checkpoints: bool = True,
) -> list[Path]:
    """Write a bundle of these runs and tell how to bring it home; returns its files."""
    written = bundles.write(
        path,
        where,
        runs,
        tables=[f"{name}.{scale}" for name in names],
        checkpoints=checkpoints,
        commit=provenance.commit(),
        part_bytes=part_bytes,
    )
    for part in written:
        print(part)
    if written and sys.stderr.isatty():
        every = " ".join(str(part) for part in written)
        print(f"Bring it home: python -m snlib merge {every}", file=sys.stderr)
    return written
