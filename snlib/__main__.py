"""The command line: python -m snlib run | list | status | verify."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

from tqdm import tqdm

from snlib import experiments, results, runner, tables
from snlib.errors import UserError, require


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 fine, 1 some runs failed, 2 wrong input."""
    options = parser().parse_args(arguments)
    try:
        return options.command(options)
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
        sys.stderr.close()
        return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="python -m snlib", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="compute what is missing of experiments")
    run.add_argument("experiment", nargs="+", help="names as `list` shows them, or: all")
    run.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default cpu)")
    run.add_argument("--workers", type=int, help="runs side by side (default: one a core)")
    run.add_argument("--budget", help="stop cleanly after this time, such as 90s, 25m or 2h")
    run.add_argument("--first", type=int, metavar="N", help="only the first N runs of the plan")
    run.set_defaults(command=_run)

    listing = commands.add_parser("list", help="experiments: figure, runs, cost, state")
    listing.add_argument("experiment", nargs="*", help="only these")
    listing.add_argument("--settings", action="store_true", help="print the settings of each run")
    listing.set_defaults(command=_list)

    status = commands.add_parser("status", help="what is done, unfinished and missing")
    status.add_argument("experiment", nargs="*", help="only these")
    status.set_defaults(command=_status)

    verify = commands.add_parser("verify", help="derive every table from its records and compare")
    verify.set_defaults(command=_verify)

    claims = commands.add_parser("claims", help="the paper's claims and their verdicts")
    claims.set_defaults(command=_claims)

    for command in (run, listing, status, claims):
        command.add_argument(
            "--scale", default="quick", help="quick (default), laptop, paper or paper@DATASET"
        )
        command.add_argument(
            "--data", metavar="DATASET", help="put this data set in the place of the scale's own"
        )
    run.add_argument("--data-root", type=Path, help="folder of the data sets (default: data/)")
    for command in (run, listing, status, verify, claims):
        command.add_argument(
            "--store", default="recorded", help="recorded (data/results), workbook, or a folder"
        )
    return top


def _scale(options: argparse.Namespace) -> str:
    scale = f"{options.scale}@{options.data}" if options.data else options.scale
    experiments.settings_of(scale)
    return scale


def _names(options: argparse.Namespace) -> list[str]:
    if not options.experiment or "all" in options.experiment:
        scale = options.scale.partition("@")[0]
        return [name for name, one in experiments.EXPERIMENTS.items() if scale in one.scales]
    return [experiments.experiment(name).name for name in options.experiment]


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    require(match is not None, f"--budget is {text!r}; allowed are times such as 90s, 25m or 2h.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _run(options: argparse.Namespace) -> int:
    scale, names, where = _scale(options), _names(options), results.store(options.store)
    budget = _seconds(options.budget)
    require(
        options.workers is None or options.workers >= 1,
        f"--workers is {options.workers}; it must be an integer >= 1.",
    )
    require(
        options.first is None or options.first >= 1,
        f"--first is {options.first}; it must be an integer >= 1.",
    )
    plan = experiments.plan(names, scale)
    if options.first is not None:
        plan = dict(list(plan.items())[: options.first])
    todo = runner.missing(plan, where)
    terminal = sys.stderr.isatty()
    if terminal:
        print(f"{len(plan)} runs, {len(todo)} to compute at scale {scale}.", file=sys.stderr)
    with _Progress(todo, quiet=not terminal) as progress:
        outcome = runner.execute(
            plan,
            where,
            device=options.device,
            workers=options.workers,
            data_root=options.data_root,
            deadline=time.time() + budget if budget is not None else None,
            on_progress=progress.epoch,
            on_done=progress.done,
        )
    for name in experiments.EXPERIMENTS:  # others may share the runs just recorded
        if name not in names and not where.table_path(name, scale).exists():
            continue
        path = tables.write(name, scale, where)
        if path is not None:
            print(path)
    for name, reason in outcome.failed.items():
        print(f"snlib: run {name} failed: {reason}", file=sys.stderr)
    if outcome.unfinished:
        print(
            f"snlib: runs not finished: {len(outcome.unfinished)}; the same command goes on.",
            file=sys.stderr,
        )
    return 1 if outcome.failed else 0


class _Progress:
    """A bar of the arithmetic done, with the time left; silent when nobody watches."""

    def __init__(self, todo: dict, *, quiet: bool) -> None:
        self.costs = {run.name: runner.cost(run) for run in todo}
        self.seen = dict.fromkeys(self.costs, 0.0)
        self.finished = 0
        self.bar = tqdm(
            total=round(sum(self.costs.values()), 3),
            disable=quiet,
            bar_format="{percentage:3.0f}%|{bar}| {desc} [{elapsed} gone, {remaining} left]",
        )
        self._describe()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def _describe(self) -> None:
        self.bar.set_description_str(f"{self.finished}/{len(self.costs)} runs", refresh=False)

    def epoch(self, name: str, fraction: float) -> None:
        if fraction > self.seen[name]:
            self.bar.update((fraction - self.seen[name]) * self.costs[name])
            self.seen[name] = fraction

    def done(self, run: experiments.Run, status: str) -> None:
        if not status.startswith("unfinished"):
            self.finished += 1
            self._describe()
            self.epoch(run.name, 1.0)


def _list(options: argparse.Namespace) -> int:
    scale, where = _scale(options), results.store(options.store)
    print(f"{'experiment':14} {'notebook':8} {'done':>9} {'cost':>9}  title (scale {scale})")
    for name in _names(options):
        chosen = experiments.experiment(name)
        runs = chosen.at(scale)
        todo = runner.missing(dict.fromkeys(runs, chosen.suites), where)
        work = sum(runner.cost(run) for run in runs)
        done = f"{len(runs) - len(todo)}/{len(runs)}"
        print(f"{name:14} {chosen.notebook:8} {done:>9} {work:9.0f}  {chosen.title}")
        if options.settings:
            for run in runs:
                settings = {
                    key: value for key, value in run.settings().items() if value is not None
                }
                print(
                    f"  {run.name} " + " ".join(f"{key}={value}" for key, value in settings.items())
                )
    print("cost: 1 is one ERM epoch over 1,000 images, all runs of an experiment together")
    return 0


def _status(options: argparse.Namespace) -> int:
    scale, where = _scale(options), results.store(options.store)
    plan = experiments.plan(_names(options), scale)
    todo = runner.missing(plan, where)
    begun = [run for run in todo if (where.work / f"{run.name}.pt").exists()]
    records = [results.load_record(run.name, where) for run in plan if run not in todo]
    diverged = sum(bool(record["diverged"]) for record in records)
    hours = sum(record["provenance"]["seconds"] for record in records) / 3600
    done_cost = sum(runner.cost(run) for run in plan if run not in todo)
    left = sum(runner.cost(run) for run in todo)
    print(f"scale       {scale}")
    print(
        f"done        {len(records)} of {len(plan)} runs ({diverged} diverged), {hours:.2f} hours"
    )
    print(f"unfinished  {len(begun)} with a checkpoint")
    print(f"missing     {len(todo) - len(begun)}")
    if done_cost:
        print(f"left        about {hours * left / done_cost:.2f} hours of one such worker")
    return 0


def _claims(options: argparse.Namespace) -> int:
    from snlib.claims import judge  # it draws on the figures' summaries, which need matplotlib

    scale = _scale(options)
    print(f"Verdicts at scale {scale}; intervals are 95 % over seeds.")
    for row in judge(scale, options.store).to_dict("records"):
        print(f"{row['number']:2}. {row['claim']}\n    {row['verdict']}")
        if row["seeds"]:
            interval = f"{row['mean']:+.3f} ± {row['half']:.3f} ({row['seeds']} seeds)"
            print(f"    {row['statistic']}: {interval}, claim: above {row['threshold']:g}")
        print(f"    published: {row['published']}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    where = results.store(options.store)
    wrong = tables.verify(where)
    for line in wrong:
        print(line, file=sys.stderr)
    count = len(list(where.records.glob("*.json")))
    print(f"{count} records read; {'tables agree with them' if not wrong else 'mismatch'}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
