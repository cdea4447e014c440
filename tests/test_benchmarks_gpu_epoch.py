"""The GPU benchmark runs, at a tiny size, on a CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def gpu_epoch(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_epoch

    yield gpu_epoch
    for name in ("gpu_epoch", "recording"):
        sys.modules.pop(name, None)


def test_epochs_and_accuracies_are_measured_and_kept(gpu_epoch, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_epoch.recording, "SCRATCH", tmp_path)
    tiny = "--batch 8 --width 0.05 --side 12 --attack-steps 2 --rounds 1"
    short = "--images 60 --test 50 --epochs 1 --seeds 2"
    gpu_epoch.main([*tiny.split(), *short.split()])
    table = pd.read_csv(tmp_path / "gpu_epoch.csv")
    assert set(table["contestant"]) == {"float32", "bfloat16"}
    epochs = table[table["quantity"] == "epoch_seconds"]
    assert (epochs["value"] > 0).all() and epochs["setting"].str.contains(
        "side=12 device=cpu"
    ).all()
    gaps = table[table["quantity"].str.startswith("accuracy_difference")]
    assert len(gaps) == 2 and (gaps["low"] <= gaps["value"]).all()
    assert "TFLOP/s" in capsys.readouterr().out


def test_rounds_of_an_earlier_run_do_not_stay_among_those_of_a_later_one(gpu_epoch, tmp_path):
    recording = gpu_epoch.recording

    def rows(count: int, value: float, net: str = "alexnet") -> list[dict]:
        return [
            recording.row("ours", recording.setting(net=net, round=one), "ratio", value)
            for one in range(count)
        ]

    recording.write("cost", rows(3, 1.0, "mlp1"), (), tmp_path)
    recording.write("cost", rows(9, 1.3), (), tmp_path)
    recording.write("cost", rows(4, 1.0), (), tmp_path)
    table = pd.read_csv(tmp_path / "cost.csv")
    ours = table[table["setting"].str.contains("alexnet")]
    assert len(ours) == 4 and (ours["value"] == 1.0).all() and len(table) == 7
