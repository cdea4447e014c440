"""claims: the paper's claims and their verdicts."""

from __future__ import annotations

import argparse

from snlib.commands import options as shared


def add(commands) -> None:
    """Declare the command."""
    claims = commands.add_parser("claims", help="the paper's claims and their verdicts")
    shared.add_scale(claims, default=None)
    shared.add_store(claims)
    claims.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Print each claim and, at every scale or the one asked for, its verdict and its numbers."""
    from snlib import claims

    scales = claims.SCALES
    if options.scale is not None or options.data is not None:
        options.scale = options.scale or "paper"
        scales = (shared.scale(options),)
    print(claims.report(scales, options.store))
    return 0
