"""Experiments of seconds, and the command line that knows them: python tiny_experiment.py run tiny.

Worker processes do not need this file: they receive runs alone.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

from snlib import experiments
from snlib.experiments import Experiment, grid

SMALL = dict(data="digits", train_size=100, net="softmax", batch_size=20, steps=3)


def _experiment(name: str, epochs: tuple[int, ...], **axes) -> Experiment:
    def runs(base, seeds):
        return [
            run for count in epochs for run in grid({**base, **SMALL}, (0,), epochs=count, **axes)
        ]

    suites = frozenset({"history", "accuracy", "spectrum"})
    return Experiment(name, f"only a test ({name})", "00", runs, frozenset({"accuracy"}), suites)


TINY = _experiment("tiny", (2,), scheme=("erm", "fgm"), beta=(math.inf, 1.3))
STEADY = _experiment("steady", (40,), scheme=("erm", "fgm"), beta=(math.inf, 1.3))
SLOW = _experiment("slow", (1, 10**6), beta=1.3)
EXPERIMENTS = {one.name: one for one in (TINY, STEADY, SLOW)}


def start(*arguments: object, **options) -> subprocess.Popen:
    """Start the command line in a process group of its own, its output in pipes."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "",  # what is said is buffered, as on most machines
    }
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env=environment,
        start_new_session=True,
        # A shell that starts the tests in the background makes them deaf to Ctrl-C; the command
        # under test is one that a person started.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


if __name__ == "__main__":
    from snlib.__main__ import main

    experiments.EXPERIMENTS.update(EXPERIMENTS)
    sys.exit(main())
