"""How long runs take on one device: learned from the records made on it, else measured in a second.

    speed = learned(records, "cpu")
    speed.seconds(run, suites)   of training and measuring, one run at a time on the device
    speed.epoch(run)             of training one of its epochs

`costs.seconds` and `costs.measuring` give the shape of it, by arithmetic; what is learned is the
ratio of recorded to modelled seconds, a median over similar runs, since records made on a busy
machine are long by chance. A run is like another with the same data set, network, width, training
scheme and suites of measurements, for some suites take longer than the training; if there is none,
suites may differ, then the scheme, too; if there is none of these either, it takes what the model
says of a machine whose two rates were measured just now, times what the device's records took
beyond such rates, which are those of an undisturbed step.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch

from snlib import costs, models, provenance
from snlib.costs import Machine
from snlib.runs import OF_TRAINING, Run

TURN_SECONDS = 0.3
"""How long each of the two measurements of `calibrated` goes on, after one step to warm up."""

Records = Mapping[Run, Mapping[str, object]]
"""Records without their rows: `provenance`, and where known `suites` and `epochs`."""


@dataclass(frozen=True)
class Speed:
    """What runs take on a device.

    Attributes:
        device: its name, as records have it.
        recorded: seconds of training and measuring of runs that were recorded on it.
        measured: the suites of these runs.
        ratios: recorded seconds over modelled ones, the median of the runs of a kind.
        machine: gives the rates for the kinds of which there is no record.
        beyond: recorded seconds over what a machine's rates give, the median of all records.
    """

    device: str
    recorded: Mapping[Run, float] = field(default_factory=dict)
    measured: Mapping[Run, frozenset[str]] = field(default_factory=dict)
    ratios: Mapping[tuple, float] = field(default_factory=dict)
    machine: Callable[[], Machine] = lambda: costs.CPU
    beyond: Callable[[Machine], float] = lambda machine: 1.0

    def seconds(self, run: Run, suites: frozenset[str] = frozenset()) -> float:
        """Of training a run, all its epochs, and measuring it.

        Args:
            suites: what is to be measured, as far as known.
        """
        if run in self.recorded and suites <= self.measured[run]:
            return self.recorded[run]
        for kind in _kinds(run, suites):
            if kind in self.ratios:
                return self.ratios[kind] * _modelled(run, suites)
        machine = self.machine()
        return self.beyond(machine) * _modelled(run, suites, machine)

    def epoch(self, run: Run) -> float:
        """Of training one epoch of a run."""
        training = costs.seconds(run) / _modelled(run, self.measured.get(run, frozenset()))
        return self.seconds(run) * training / run.epochs

    def known(self, run: Run) -> bool:
        """Whether `seconds` comes from records."""
        return run in self.recorded or _kinds(run)[-1] in self.ratios

    def source(self, runs: Collection[Run]) -> str:
        """Where the seconds of these runs come from, in words."""
        unlike = sum(not self.known(run) for run in runs)
        words = [self.device]
        if self.recorded:
            words.append(f"from {len(self.recorded)} of its records")
        if unlike:
            machine = self.machine()
            rates = f"{machine.flops / 1e9:.0f} GFLOP/s, {1e3 * machine.launch:.1g} ms a layer"
            which = f"{unlike} runs unlike them by rates " if self.recorded else ""
            beyond = f", times {self.beyond(machine):.2g}" if self.recorded else ""
            words.append(f"{which}{machine.name}: {rates} and pass{beyond}")
        return ", ".join(words)


def learned(records: Records, device: str = "cpu") -> Speed:
    """What is known of a device.

    Args:
        records: runs and their records; those made on another device count for nothing.
        device: "cpu", "cuda", ...; rates are measured on it only if they are asked for.
    """
    name = provenance.device_name(device)
    made = {
        run: record for run, record in records.items() if record["provenance"].get("device") == name
    }
    seconds = {run: float(record["provenance"]["seconds"]) for run, record in made.items()}
    suites = {run: frozenset(record.get("suites", ())) for run, record in made.items()}
    epochs = {run: record.get("epochs") for run, record in made.items()}

    def ratios(machine: Machine) -> dict[Run, float]:
        """Recorded over modelled seconds; without runs that diverged in their first epoch."""
        modelled = {run: _modelled(run, suites[run], machine, epochs[run]) for run in made}
        return {run: seconds[run] / value for run, value in modelled.items() if value}

    @functools.cache
    def beyond(machine: Machine) -> float:
        return statistics.median([*ratios(machine).values()] or [1.0])

    found: dict[tuple, list[float]] = defaultdict(list)
    for run, ratio in ratios(costs.CPU).items():
        for kind in _kinds(run, suites[run]):
            found[kind].append(ratio)
    by_kind = {kind: statistics.median(values) for kind, values in found.items()}
    rates = functools.partial(calibrated, device)
    return Speed(name, seconds, suites, by_kind, rates, beyond)


def assumed(device: str) -> Speed:
    """What is stated of devices elsewhere, such as the nodes of a cluster, that nobody measured."""
    machine = costs.CPU if device == "cpu" else costs.GPU
    stated = Machine(f"assumed for {machine.name}", machine.flops, machine.launch)
    return Speed("a node", machine=lambda: stated)


def _kinds(run: Run, suites: frozenset[str] = frozenset()) -> tuple[tuple, ...]:
    """The closest kind first."""
    wide = (run.data, run.net, run.width)
    return (*wide, run.scheme, suites), (*wide, run.scheme), wide


@functools.cache
def _modelled(
    run: Run, suites: frozenset[str], machine: Machine = costs.CPU, epochs: int | None = None
) -> float:
    """Of training a run, all its epochs or some, and of its accuracies if they are measured."""
    share = 1.0 if epochs is None else epochs / run.epochs
    training = share * costs.seconds(run, machine)
    if suites and suites <= OF_TRAINING:
        return training
    return training + costs.measuring(run, machine)


@functools.cache
def calibrated(device: str = "cpu") -> Machine:
    """The two rates of a device, measured in about two seconds.

    Plain training steps: of the paper's AlexNet, whose arithmetic decides, and of a thin one on
    tiny images, whose layers decide; on a CPU with one thread, as workers have it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        large, work, layers = _step_seconds(device, "alexnet", (3, 28, 28), 1.0, 32)
        small, little, few = _step_seconds(device, "elu_alexnet", (1, 8, 8), 0.125, 4)
    finally:
        torch.set_num_threads(threads)
    # Two equations, work / flops + layers * launch = seconds, solved by turns: both converge fast.
    flops, launch = work / large, small / few
    for _ in range(20):
        launch = max(small - little / flops, 0.1 * small) / few
        flops = work / max(large - layers * launch, 0.1 * large)
    return Machine("measured just now", flops, launch)


def _step_seconds(
    device: str, net: str, shape: tuple[int, int, int], width: float, batch: int
) -> tuple[float, float, int]:
    """Seconds of a plain training step (the fastest), its arithmetic, and its layers times passes.

    The fastest, since whatever else the machine does can only make a step longer.
    """
    module = models.build(net, shape, width=width).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-6, momentum=0.9)
    x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.arange(batch, device=device) % 10
    taken: list[float] = []
    until = None
    while until is None or len(taken) < 3 or time.monotonic() < until:
        begun = time.monotonic()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        if until is None:
            until = time.monotonic() + TURN_SECONDS
            continue
        taken.append(time.monotonic() - begun)
    size = costs.size_of(net, shape, 10, width)
    return min(taken), 2.0 * size.macs * 3 * batch, 3 * size.layers
