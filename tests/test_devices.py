"""Which devices are taken, and what is said when the memory is used up."""

from __future__ import annotations

import pytest
import torch

from snlib import devices
from snlib.errors import UserError


@pytest.fixture
def gpus(monkeypatch):
    """A machine where torch sees two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_the_devices_of_this_machine_are_taken(gpus, device):
    assert devices.check(device) is None
    torch.device(device)  # and torch knows them by that name


@pytest.mark.parametrize(
    "device",
    ["mps", "xpu", "meta", "gpu", "cpu:0", "cpu:3", "cuda:2", "cuda:9", "cuda:", "cuda:01", ""],
)
def test_others_are_refused_and_those_there_are_named(gpus, device):
    message = f"device is {device!r}; allowed are cpu, cuda, cuda:0, cuda:1."
    with pytest.raises(UserError) as refused:
        devices.check(device)
    assert str(refused.value) == message


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    devices.check("cpu")
    for device in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match=f"device is '{device}', but torch sees no CUDA GPU"):
            devices.check(device)
    for device in ("gpu", "mps", "meta", "cpu:3"):
        with pytest.raises(UserError, match=f"device is '{device}'; allowed are cpu, cuda, cuda:0"):
            devices.check(device)


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "cuda:1"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "cuda:1"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "cuda:1"),
        (MemoryError(), "cpu"),  # the host's, wherever the net is
    ],
    ids=["torch", "CUDA", "cuBLAS", "Python"],
)
def test_want_of_memory_is_one_line_with_its_remedy(error, place):
    with (
        pytest.raises(UserError) as told,
        devices.memory("cuda:1", "use less"),
    ):
        raise error
    assert str(told.value) == f"out of memory on {place}: use less."


def test_more_than_any_host_has():
    with (
        pytest.raises(UserError, match=r"^out of memory on cpu: use less\.$"),
        devices.memory("cuda", "use less"),
    ):
        torch.empty(10**15)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("memory"), KeyError()])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as passed, devices.memory("cpu", "use less"):
        raise error
    assert passed.value is error
