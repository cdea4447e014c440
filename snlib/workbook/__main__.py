"""The builder's command line: python -m snlib.workbook build | record | normalise."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from snlib import claims, listing, results
from snlib.errors import UserError
from snlib.workbook import build, record


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 fine, 1 something failed, 2 wrong input."""
    options = parser().parse_args(arguments)
    try:
        return options.command(options)
    except UserError as error:
        print(f"snlib.workbook: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept; the same command goes on.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="python -m snlib.workbook", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    making = commands.add_parser("build", help="compute a scale's records and render every page")
    making.add_argument("--scale", default="quick", help="quick (default), laptop or paper")
    making.add_argument("--out", type=Path, default=build.OUT, help="default: build/workbook")
    making.add_argument(
        "--pages-only", action="store_true", help="render what is recorded, compute nothing"
    )
    making.set_defaults(command=_build)

    for name, text in (
        ("record", "run notebooks again, in place, and store their outputs"),
        ("normalise", "strip what editors and runs leave in notebooks' metadata"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("notebooks", nargs="*", type=Path, help="default: all")
        command.set_defaults(command={"record": _record, "normalise": _normalise}[name])
    return top


def _build(options: argparse.Namespace) -> int:
    return build.build(options.scale, options.out, compute=not options.pages_only)


def _record(options: argparse.Namespace) -> int:
    paths = options.notebooks or record.notebooks()
    print(f"Running {len(paths)} notebooks, about 15 s each ...", flush=True)
    for path in paths:
        record.record(path)
        print(f"  {path.name}", flush=True)
    print(f"  {build.save_headline()}")
    readme = results.ROOT / "README.md"
    filled = readme.read_text(encoding="utf-8")
    for name, content in (("claims", claims.summary()), ("map", listing.evidence())):
        filled = record.fill(filled, name, content)
    results.write_atomically(readme, filled.encode())
    print(f"  {readme}")
    return 0


def _normalise(options: argparse.Namespace) -> int:
    changed = [path for path in options.notebooks or record.notebooks() if record.tidy(path)]
    for path in changed:
        print(f"Normalised {path}.")
    return 1 if changed else 0  # pre-commit stops, so that the change can be looked at


if __name__ == "__main__":
    sys.exit(main())
