"""list: experiments with their notebook, state and cost."""

from __future__ import annotations

import argparse

from snlib import experiments, results, runner
from snlib.commands import options as shared


def add(commands) -> None:
    """Declare the command."""
    listing = commands.add_parser("list", help="experiments: figure, runs, cost, state")
    shared.add_experiments(listing)
    listing.add_argument("--settings", action="store_true", help="print the settings of each run")
    shared.add_scale(listing)
    shared.add_store(listing)
    listing.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Print one line an experiment, with --settings one more a run."""
    scale, where = shared.scale(options), results.store(options.store)
    print(f"{'experiment':14} {'notebook':8} {'done':>9} {'cost':>9}  title (scale {scale})")
    for name in shared.names(options):
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
