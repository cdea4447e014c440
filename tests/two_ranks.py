"""What each of torchrun's processes does for tests/test_parallel.py: two_ranks.py FOLDER.

Every rank writes what it has to FOLDER/<rank>.pt; the test compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from snlib import spectral, training, worker
from snlib.errors import NotFinite
from snlib.runs import Run
from snlib.team import Team, joined

SMALL = dict(data="digits", train_size=100, epochs=2, learning_rate=0.05, stop_accuracy=2.0)
RUNS = {
    "convolutions": Run(
        **SMALL, net="elu_alexnet", width=0.125, scheme="pgm", steps=3, beta=1.0, batch_size=50
    ),
    "unequal shares": Run(**SMALL, net="mlp1", width=0.1, scheme="fgm", beta=1.3, batch_size=25),
    "no budget": Run(**SMALL, net="mlp1", width=0.1, batch_size=20),
}


class Watched(Team):
    """A team that notes the bits of every norm after each step, before ranks are compared."""

    def agree(self, net) -> None:
        if not hasattr(self, "norms"):
            self.norms = []
        layers = spectral.constrained_layers(net)
        bits = [layer.parametrizations["weight"][0].tracked for _, layer in layers]
        self.norms.append([value.item().hex() for value in bits])
        super().agree(net)


class Drifting(Team):
    """A team whose second rank has another weight than the first after its third step."""

    def agree(self, net) -> None:
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 3 and not self.first:
            with torch.no_grad():
                next(net.parameters()).view(-1)[0] += 1e-7
        super().agree(net)


def like(kind: type[Team], team: Team) -> Team:
    """The same place in another kind of team."""
    return kind(team.rank, team.size, team.device)


def fitted(run: Run, team: Team, **options) -> dict[str, object]:
    """A training's end, as tensors and text."""
    done = training.fit(run, worker.load_data(run), team=team, **options)
    history = {key: done.history[key] for key in done.history if "seconds" not in key}
    return {"net": done.net.state_dict(), "history": json.dumps(history), "mended": team.mended}


def one_fails(team: Team) -> str:
    """What a step says to each rank if the second cannot make it."""
    net = torch.nn.Linear(2, 2)

    def compute(x, y):
        if not team.first:
            raise NotFinite("here alone")
        net(x).sum().backward()
        return torch.tensor(1), torch.tensor(0.5)

    try:
        team.gradient(net, compute, torch.ones(4, 2), torch.zeros(4))
    except NotFinite as error:
        return str(error)
    return "nothing"


def resumed(run: Run, team: Team, folder: Path) -> dict[str, object]:
    """Broken off after the first epoch; the second rank finds no file of its own."""
    path = folder / f"of_rank_{team.rank}.pt"
    try:
        fitted(run, like(Team, team), checkpoint=path, on_epoch=lambda state: team.first)
    except training.Stopped:
        assert path.exists() == team.first
    return fitted(run, like(Team, team), checkpoint=path)


def main(folder: Path) -> None:
    """Everything, in one start: torchrun takes seconds."""
    torch.set_num_threads(1)
    found = {}
    with joined("cpu") as team:
        for name, run in RUNS.items():
            watched = like(Watched, team)
            found[name] = fitted(run, watched) | {"norms": json.dumps(watched.norms)}
        found["drifting"] = fitted(RUNS["convolutions"], like(Drifting, team))
        found["one fails"] = one_fails(team)
        found["resumed"] = resumed(RUNS["convolutions"], team, folder)
        found["told"] = [team.decide(team.first), team.given(b"bytes" if team.first else None)]
        found["anywhere"] = [team.anywhere([False, not team.first, True]), team.anywhere([])]
        torch.save(found, folder / f"{team.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
