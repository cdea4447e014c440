"""What runs take on a device: from its records, by hand, and from a calibration that measures."""

from __future__ import annotations

import dataclasses

import pytest

from snlib import costs, provenance, speed
from snlib.costs import Machine
from snlib.runs import OF_TRAINING, Run
from snlib.speed import Speed, calibrated, learned

HERE = provenance.device_name("cpu")


def record(seconds: float, device: str = HERE) -> dict:
    return {"provenance": {"device": device, "seconds": seconds}}


def whole(run: Run, machine: Machine = costs.CPU) -> float:
    """What the model says of a run whose accuracies are measured."""
    return costs.seconds(run, machine) + costs.measuring(run, machine)


def slowed(run: Run, ratio: float, **about) -> dict:
    """A record that took `ratio` times as long as the model says."""
    return record(ratio * whole(run)) | about


def test_the_run_itself_then_its_kind_then_the_net_then_the_machine():
    erm, pgm = Run(), Run(scheme="pgm")
    by_hand = Machine("by hand", flops=1e9, launch=1.0)
    known = dataclasses.replace(
        learned({erm: slowed(erm, 2.0), pgm: slowed(pgm, 5.0)}), machine=lambda: by_hand
    )
    assert known.seconds(erm) == pytest.approx(2 * whole(erm))
    other_seed = Run(scheme="pgm", seed=3, beta=1.3)
    assert known.seconds(other_seed) == pytest.approx(5 * whole(other_seed))
    fgm = Run(scheme="fgm")  # the same net: the median of 2 and 5
    assert known.seconds(fgm) == pytest.approx(3.5 * whole(fgm))
    resnet = Run(net="resnet")
    assert not known.known(resnet) and known.known(fgm)
    beyond = (2 * whole(erm) / whole(erm, by_hand) + 5 * whole(pgm) / whole(pgm, by_hand)) / 2
    assert known.seconds(resnet) == pytest.approx(beyond * whole(resnet, by_hand))


def test_a_net_without_records_takes_as_much_beyond_the_rates_as_others_did():
    rates = Machine("by hand", flops=4e9, launch=1e-3)
    runs = [Run(seed=seed) for seed in range(3)]
    made = {
        run: record(times * whole(run, rates)) for run, times in zip(runs, (2, 9, 3), strict=True)
    }
    known = dataclasses.replace(learned(made), machine=lambda: rates)
    inception = Run(net="inception")
    assert known.seconds(inception) == pytest.approx(3 * whole(inception, rates))
    assert known.source([inception]).endswith("4 GFLOP/s, 1 ms a layer and pass, times 3")
    alone = dataclasses.replace(learned({}), machine=lambda: rates)
    assert alone.seconds(inception) == pytest.approx(whole(inception, rates))
    assert alone.source([inception]).endswith("1 ms a layer and pass")


ACCURACY = frozenset({"history", "accuracy"})
ATTACKED = ACCURACY | {"robustness"}


def test_what_is_measured_counts():
    """Attacks of many radii take longer than the training; a net without them takes its share."""
    runs = [Run(seed=seed) for seed in range(3)]
    made = {
        runs[0]: slowed(runs[0], 4.0, suites=sorted(ATTACKED)),
        runs[1]: slowed(runs[1], 6.0, suites=sorted(ATTACKED)),
        runs[2]: slowed(runs[2], 2.0, suites=sorted(ACCURACY)),
    }
    known, later = learned(made), Run(seed=9, beta=1.3)
    assert known.seconds(later, ACCURACY) == pytest.approx(2 * whole(later))
    assert known.seconds(later, ATTACKED) == pytest.approx(5 * whole(later))
    assert known.seconds(later, ACCURACY | {"bounds"}) == pytest.approx(4 * whole(later))  # any
    assert known.seconds(runs[2], ACCURACY) == made[runs[2]]["provenance"]["seconds"]
    assert known.seconds(runs[2], ATTACKED) == pytest.approx(5 * whole(runs[2]))  # to do again


def test_a_run_that_stopped_early_had_its_own_epochs():
    early, later = Run(stop_accuracy=0.5), Run(seed=9)
    taken = 3 * (0.25 * costs.seconds(early) + costs.measuring(early))
    known = learned({early: record(taken) | {"epochs": 50}})
    assert known.seconds(later) == pytest.approx(3 * whole(later))


def test_a_run_without_an_epoch_teaches_nothing():
    lost = record(1.0) | {"epochs": 0, "suites": sorted(OF_TRAINING)}
    assert learned({Run(): lost}).ratios == {}


def test_what_only_training_leaves_is_not_measured():
    run = Run(scheme="pgm", epochs=4, train_size=2000)
    assert costs.measuring(run) > costs.seconds(run) / 2  # the mistake would show
    known = Speed("a device", machine=lambda: costs.CPU)
    assert known.seconds(run, OF_TRAINING) == costs.seconds(run)
    assert known.epoch(run) == pytest.approx(costs.seconds(run) / 4)


def test_one_record_of_a_busy_machine_moves_the_median_little():
    seeds = [Run(seed=seed) for seed in range(5)]
    ratios = [1.0, 1.1, 1.0, 40.0, 0.9]
    known = learned({run: slowed(run, by) for run, by in zip(seeds, ratios, strict=True)})
    later = Run(seed=9)
    assert known.seconds(later) == pytest.approx(1.0 * whole(later))


def test_records_of_other_devices_count_for_nothing():
    run = Run()
    known = learned({run: record(1e9, "another")})
    assert known.recorded == {} and known.ratios == {} and not known.known(run)


def test_where_the_seconds_come_from_is_said():
    run, other = Run(), Run(net="resnet")
    by_hand = Machine("set by hand", 5e9, 2e-3)
    made = {run: record(2 * whole(run, by_hand))}
    known = dataclasses.replace(learned(made), machine=lambda: by_hand)
    assert known.source([run]) == f"{HERE}, from 1 of its records"
    assert known.source([run, other]) == (
        f"{HERE}, from 1 of its records, 1 runs unlike them by rates set by hand: 5 GFLOP/s, "
        "2 ms a layer and pass, times 2"
    )
    nothing = Speed("a device", machine=lambda: Machine("set by hand", 5e9, 2e-3))
    assert nothing.source([run]) == "a device, set by hand: 5 GFLOP/s, 2 ms a layer and pass"


def test_a_calibration_solves_its_two_equations(monkeypatch):
    """A machine of which both rates are known, in place of one that must be timed."""
    flops, launch = 3e10, 2e-4

    def seconds(device, net, shape, width, batch):
        size = costs.size_of(net, shape, 10, width)
        work = 2.0 * size.macs * 3 * batch
        return work / flops + 3 * size.layers * launch, work, 3 * size.layers

    monkeypatch.setattr(speed, "_step_seconds", seconds)
    found = calibrated.__wrapped__("cpu")
    assert found.flops == pytest.approx(flops, rel=1e-3)
    assert found.launch == pytest.approx(launch, rel=1e-3)


def test_a_calibration_measures_what_a_step_takes():
    found = calibrated("cpu")
    assert 1e8 < found.flops < 1e13 and 1e-7 < found.launch < 1.0
    assert calibrated("cpu") is found  # once a process


def test_what_nobody_measured_is_called_assumed():
    run = Run()
    assert speed.assumed("cuda").seconds(run) == pytest.approx(whole(run, costs.GPU))
    assert "assumed for one H200" in speed.assumed("cuda").source([run])
    assert speed.assumed("cpu").seconds(run) == pytest.approx(whole(run))
