"""The command's side of a plan on Ray: submit, listen, write."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from snlib import interrupts, provenance, results, worker
from snlib.cluster import nodes, versions
from snlib.errors import UserError
from snlib.files import write_atomically
from snlib.results import Store
from snlib.runner import Outcome
from snlib.runs import Run

RETRIES = 3
"""How often Ray starts a run again whose worker or node was lost."""

CHECKPOINT_SECONDS = 60.0
"""Least time between two checkpoints of a run: each is sent home, 40 MB for a full AlexNet."""

TURN = 0.2
"""Seconds between two looks at the mailbox."""

LEAVE = 0.1, 60.0
"""Share of the time, and seconds at most, that are left before the deadline to those who stop: a
run hears of it after the epoch it is in, and its checkpoint travels home."""

LOOK_ROUND = 2.0
"""Seconds between two looks at how large the cluster is."""

LEAST_PATIENCE = 5.0
"""Seconds in which those who stop may do so, however short the whole time was."""

Todo = dict[Run, frozenset[str]]


class Driver:
    """Carries out a plan on a connected cluster."""

    def __init__(
        self,
        ray: ModuleType,
        where: Store,
        outcome: Outcome,
        needs: dict[str, float],
        *,
        device: str,
        data_root: Path | None,
    ) -> None:
        self.ray, self.where, self.outcome, self.needs = ray, where, outcome, needs
        self.device, self.data_root = device, data_root
        self.listeners = (None, None)  # on_progress, on_done
        self.mailbox = self._mailbox()
        # GPU workers end with their run, so that the next one finds the GPU that Ray means.
        self.task = ray.remote(max_retries=RETRIES, **needs)(nodes.train)
        self.tasks: dict[object, Run] = {}
        self.locks: dict[Run, contextlib.ExitStack] = {}
        self.images: dict[tuple, object] = {}

    def _mailbox(self):
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        at_home = On(self.ray.get_runtime_context().get_node_id(), soft=True)
        options = dict(num_cpus=0, max_restarts=-1, max_task_retries=-1)
        return (
            self.ray.remote(**options)(nodes.Mailbox).options(scheduling_strategy=at_home).remote()
        )

    def carry_out(
        self,
        todo: Todo,
        *,
        workers: int | None,
        deadline: float | None,
        least: Mapping[Run, float] | None = None,
    ) -> None:
        """Submit every run, keep what comes back, until all have ended or the time is over."""
        waiting = deque(todo.items())
        looked, slots = -LOOK_ROUND, 0
        share, most = LEAVE
        patience = 0.0 if deadline is None else min(share * (deadline - time.time()), most)
        end = math.inf  # by time.monotonic(), once the runs were told to stop
        with interrupts.noted() as check:
            try:
                while waiting or self.tasks:
                    check()
                    if deadline is not None and time.time() > deadline - patience:
                        self._give_up(waiting)
                        deadline, end = None, time.monotonic() + max(patience, LEAST_PATIENCE)
                    if time.monotonic() > end:
                        self._break_off()
                        continue
                    self._leave_out(waiting, deadline, least or {})
                    if time.monotonic() - looked > LOOK_ROUND:
                        looked, slots = time.monotonic(), workers or 2 * self._slots()
                    self._fill(waiting, slots)
                    if not self.tasks:  # other processes work on all that is left
                        time.sleep(TURN)
                        continue
                    ready, _ = self.ray.wait(list(self.tasks), timeout=TURN)
                    self._read_mail()
                    for task in ready:
                        self._collect(task)
            finally:
                for lock in self.locks.values():
                    lock.close()

    def _slots(self) -> int:
        """How many runs the cluster has room for."""
        there = self.ray.cluster_resources()
        rooms = [there.get("CPU", 0) / self.needs["num_cpus"]]
        if "num_gpus" in self.needs:
            rooms.append(there.get("GPU", 0) / self.needs["num_gpus"])
        return max(int(min(rooms)), 1)

    def _give_up(self, waiting: deque) -> None:
        """The time is over: what runs leaves a checkpoint, what waits stays where it is."""
        self.ray.get(self.mailbox.stop.remote())
        while waiting:
            self._end(waiting.popleft()[0], "unfinished")

    def _break_off(self) -> None:
        """End what did not stop in time: it goes on from the last checkpoint that came home."""
        self._read_mail()
        for task, run in list(self.tasks.items()):
            self.ray.cancel(task, force=True)
            del self.tasks[task]
            self._end(run, "unfinished")

    def _leave_out(
        self, waiting: deque, deadline: float | None, least: Mapping[Run, float]
    ) -> None:
        """Do not begin runs for which the deadline comes before the end of one epoch."""
        if deadline is None:
            return
        left = deadline - time.time()
        for entry in [entry for entry in waiting if least.get(entry[0], 0.0) > left]:
            waiting.remove(entry)
            self._end(entry[0], "unfinished")

    def _fill(self, waiting: deque, slots: int) -> None:
        """Submit runs, in order, until twice as many are with Ray as it has room for."""
        for _ in range(len(waiting)):
            if len(self.tasks) >= slots:
                return
            run, suites = waiting.popleft()
            lock = contextlib.ExitStack()
            if not lock.enter_context(results.lock(self.where, run.name)):
                lock.close()
                waiting.append((run, suites))  # another process works on it
                continue
            self.locks[run] = lock
            if not worker.missing({run: suites}, self.where):
                self._end(run, "done")  # and has finished
                continue
            for path in (self.where.record_path(run.name), self._checkpoint(run.name)):
                results.sweep(path)
            try:
                self._submit(run, suites | worker.measured(run, self.where))
            except UserError as error:  # images that this run asks for and its data set lacks
                self._end(run, f"failed: {error}")
            self._forget_images(waiting)

    def _submit(self, run: Run, suites: frozenset[str]) -> None:
        checkpoint = self._read_checkpoint(run.name)
        task = self.task.remote(
            versions.here(), run.settings(), sorted(suites), self._images_of(run), checkpoint,
            self.mailbox, self.device, CHECKPOINT_SECONDS,
        )  # fmt: skip
        self.tasks[task] = run

    def _images_of(self, run: Run):
        """Ray's reference to a run's data set, put there once."""
        key = worker.images_of(run)
        if key not in self.images:
            self.images[key] = self.ray.put(nodes.packed(worker.load_data(run, self.data_root)))
        return self.images[key]

    def _forget_images(self, waiting: deque) -> None:
        """Let Ray free what no run needs any more; tasks that have it keep it."""
        needed = {worker.images_of(run) for run, _ in waiting}
        for key in set(self.images) - needed:
            del self.images[key]

    def _checkpoint(self, name: str) -> Path:
        return worker.checkpoint_of(self.where, name)

    def _read_checkpoint(self, name: str) -> bytes | None:
        path = self._checkpoint(name)
        return path.read_bytes() if path.exists() else None

    def _read_mail(self) -> None:
        """Pass on progress, store checkpoints, give them to those who start again."""
        fractions, checkpoints, wanted = self.ray.get(self.mailbox.take.remote())
        running = {run.name for run in self.tasks.values()}
        for name, content in checkpoints.items():
            if name in running:
                write_atomically(self._checkpoint(name), content)
        for name in wanted:
            self.mailbox.give.remote(name, self._read_checkpoint(name))
        if self.listeners[0] is not None:
            for name in fractions.keys() & running:
                self.listeners[0](name, fractions[name])

    def _collect(self, task: object) -> None:
        """Write the record that a task brought home."""
        run = self.tasks.pop(task)
        try:
            brought = self.ray.get(task)
        except Exception as error:  # one run's mishap must not end the others
            self._end(run, f"failed: {self._reason(error)}")
            return
        record, checkpoint = brought["record"], self._checkpoint(run.name)
        if record is None:
            if brought["checkpoint"] is not None:
                write_atomically(checkpoint, brought["checkpoint"])
            self._end(run, "unfinished")
            return
        # The same sources were there, whatever became of their history.
        record["provenance"]["commit"] = provenance.commit()
        results.save_record(record, self.where)
        checkpoint.unlink(missing_ok=True)
        self._end(run, "diverged" if record["diverged"] else "done")

    def _reason(self, error: Exception) -> str:
        """Why a task failed, in one line.

        Raises:
            UserError: a node with other versions, which ends the plan.
        """
        lost = self.ray.exceptions
        cause = getattr(error, "cause", None)
        if isinstance(cause, versions.OtherVersions):
            raise UserError(str(cause)) from error
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(error, lost.WorkerCrashedError | lost.NodeDiedError | lost.OutOfMemoryError):
            return (
                f"its worker or node was lost {RETRIES + 1} times, most likely for want of memory; "
                "let fewer runs share a node (--workers, --gpu-share)"
            )
        said = (str(cause or error).strip().splitlines() or [""])[0]
        return f"{type(cause or error).__name__}: {said}"

    def _end(self, run: Run, status: str) -> None:
        self.outcome.note(run, status, self.listeners[1])
        lock = self.locks.pop(run, None)
        if lock is not None:
            lock.close()
