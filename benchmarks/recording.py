"""Tables of what the benchmarks measured: data/results/benchmarks/<benchmark>.csv, tidy rows.

    python benchmarks/recording.py          # what is recorded, and when

Every benchmark prints its table and keeps its numbers in build/benchmarks; with --record it writes
them here instead. A row is one quantity of one contestant in one setting. A new measurement takes
the place of the old one with the same benchmark, contestant, setting and quantity; others stay.
`snlib.figures.benchmarks` reads the tables.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import itertools
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch

FOLDER = Path(__file__).resolve().parents[1] / "data" / "results" / "benchmarks"
SCRATCH = Path(__file__).resolve().parents[1] / "build" / "benchmarks"
KEY = ["benchmark", "contestant", "setting", "quantity"]
COLUMNS = [*KEY, "value", "low", "high", "repeats", "date", "machine", "versions", "command"]


def processor() -> str:
    """The processor's name, as far as the system tells."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    bfloat16 = " with AVX512-BF16" if any("avx512_bf16" in line for line in lines) else ""
    return (names[0] if names else platform.processor()) + bfloat16


def machine() -> str:
    """Processor, threads, how busy the machine is (a shared one spreads the times), and its GPU."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    load = f", load {os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{processor()}, {torch.get_num_threads()} thread(s){load} on {os.cpu_count()} cores{gpu}"
    )


def missing(pins: dict[str, str]) -> list[str]:
    """Names of the packages that are not installed, after one line on how to get each.

    Args:
        pins: version by the name of the package, as in the registry.
    """
    absent = []
    for name, version in pins.items():
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
            print(
                f"Left out: {name}, which is not installed; to have it: "
                f"python -m pip install --no-deps {name}=={version}"
            )
    return absent


def folder(record: bool) -> Path:
    """Where numbers go: among the committed results if they are to be recorded."""
    return FOLDER if record else SCRATCH


def setting(**parts: object) -> str:
    """Settings as one text, such as 'net=alexnet batch=128'; values hold no spaces."""
    return " ".join(f"{name}={value}" for name, value in parts.items())


def row(
    contestant: str,
    setting: str,
    quantity: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
    repeats: int = 1,
) -> dict[str, object]:
    """One measured number, with a range where it was repeated."""
    return {
        "contestant": contestant,
        "setting": setting,
        "quantity": quantity,
        "value": value,
        "low": low,
        "high": high,
        "repeats": repeats,
    }


def write(
    benchmark: str, rows: Iterable[dict], packages: Iterable[str] = (), folder: Path = FOLDER
) -> Path:
    """Put rows into the table of a benchmark; returns its file.

    Args:
        benchmark: name of the table.
        rows: of `row`.
        packages: rivals whose versions count, besides Python and torch.
        folder: where tables lie.
    """
    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    versions += [f"{name} {importlib.metadata.version(name)}" for name in packages]
    # As it would be called in the repository, wherever that and its data lie.
    words = ["data" if last == "--root" else word for last, word in itertools.pairwise(sys.argv)]
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])
    fresh = pd.DataFrame(rows).assign(
        benchmark=benchmark,
        date=datetime.date.today().isoformat(),
        machine=machine(),
        versions=", ".join(versions),
        command=command,
    )[COLUMNS]
    path = folder / f"{benchmark}.csv"
    if path.exists():
        # All rounds of a setting are of one run: fewer new ones must not be joined by old ones.
        old = pd.read_csv(path)
        fresh = pd.concat([old[~_without_round(old).isin(_without_round(fresh))], fresh])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    fresh.sort_values(KEY).to_csv(temporary, index=False, float_format="%.5g")
    temporary.replace(path)
    return path


def _without_round(rows: pd.DataFrame) -> pd.MultiIndex:
    """The columns of `KEY`, without the number of a round in the setting."""
    setting = rows["setting"].str.replace(r" ?\bround=\d+", "", regex=True)
    return pd.MultiIndex.from_frame(rows[KEY].assign(setting=setting))


def main() -> None:
    """Print one line a table."""
    for path in sorted(FOLDER.glob("*.csv")):
        table = pd.read_csv(path)
        print(f"{path.stem}: {len(table)} rows, {', '.join(sorted(set(table['date'])))}")


if __name__ == "__main__":
    main()
