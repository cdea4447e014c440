"""Ctrl-C is raised where it is asked for, whichever thread receives it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from snlib import interrupts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process-wide SIGINT there")


@pytest.fixture(autouse=True)
def heard():
    """Python's own handler, even where a shell made the tests deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def bystander():
    """A thread that does nothing, and may receive the signals of the process."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


def press() -> None:
    """Ctrl-C, and time for it to arrive."""
    os.kill(os.getpid(), signal.SIGINT)
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_mask_alone_does_not_hold_it_back(bystander):
    """Why `noted` exists: another thread receives the signal, and the main one raises."""
    with pytest.raises(KeyboardInterrupt), interrupts.kept_from_children():
        press()
        raise AssertionError("Ctrl-C did not rise in the masked part")


def test_noted_is_raised_when_asked_for(bystander):
    steps = []
    with pytest.raises(KeyboardInterrupt), interrupts.noted() as check:
        check()
        with interrupts.kept_from_children():
            press()
            steps.append("started")
        steps.append("told")
        check()
        steps.append("never")
    assert steps == ["started", "told"]


def test_noted_and_not_asked_for_is_raised_at_the_end():
    steps = []
    with pytest.raises(KeyboardInterrupt), interrupts.noted():
        press()
        steps.append("done")
    assert steps == ["done"]


def test_another_error_is_not_covered_up():
    with pytest.raises(ValueError, match="its own"), interrupts.noted():
        press()
        raise ValueError("its own")


def test_a_deaf_process_stays_deaf():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts.noted() as check:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        press()
        check()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_outside_the_main_thread_nothing_changes():
    seen = []

    def work() -> None:
        with interrupts.noted() as check:
            check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_children_started_inside_are_deaf():
    script = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    outputs = []
    for kept in (True, False):
        read, write = os.pipe()
        arguments = [sys.executable, "-c", script]
        actions = [(os.POSIX_SPAWN_DUP2, write, 1)]
        if kept:
            with interrupts.kept_from_children():
                pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
        else:
            pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
        os.close(write)
        os.waitpid(pid, 0)
        with os.fdopen(read) as pipe:
            outputs.append(pipe.read().strip())
    assert outputs == ["True", "False"]
