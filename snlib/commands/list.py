"""list: experiments with the figure they stand for, what is done of them, and what they cost."""

from __future__ import annotations

import argparse

from snlib import experiments, listing, results
from snlib.commands import options as shared
from snlib.experiments import SCALES


def add(commands) -> None:
    """Declare the command."""
    text = "experiments: figure, runs, cost here and on a GPU, state"
    listed = commands.add_parser("list", help=text)
    shared.add_experiments(listed)
    listed.add_argument("--settings", action="store_true", help="say the settings of their runs")
    shared.add_scale(listed, default=None)
    shared.add_store(listed)
    listed.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Print a line an experiment and scale, with --settings a block a configuration."""
    where = results.store(options.store)
    scales = SCALES
    if options.scale:
        scales = (shared.scale(options),)
    elif options.data:
        scales = tuple(f"{scale}@{options.data}" for scale in SCALES)
    everything = not options.experiment or "all" in options.experiment
    names = options.experiment
    if everything:
        names = [
            name
            for name, one in experiments.EXPERIMENTS.items()
            if {scale.partition("@")[0] for scale in scales} & set(one.scales)
        ]
    names = [experiments.experiment(name).name for name in names]
    shared.know_data(names, scales, where)
    for line in listing.table(names, scales, where):
        print(line)
    if not options.settings:
        return 0
    for name in names:
        for scale in scales:
            if scale.partition("@")[0] in experiments.experiment(name).scales:
                print(f"\n{name}, scale {scale}")
                print("\n".join(listing.settings(name, scale, where)))
    return 0
