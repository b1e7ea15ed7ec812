"""Jobs as tasks of a Ray cluster: this machine's GPUs or many machines.

The nodes share the results and the cache folder and have this package installed. A job whose node
is lost starts anew on another one and goes on from its checkpoints.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch

from benchmark.records.provenance import TOOLS, code_version, tool_version
from benchmark.running.process import CohortError, supervise
from benchmark.running.sharing import share_out
from benchmark.running.view import PERIOD, View
from benchmark.running.workplace import Job, Workplace, wanted_threads
from kd_methods.core.errors import PointKDError, describe

REACH = 10.0
"""Seconds for a cluster to answer."""
RETRIES = 10
"""Losses of a job's node before its run ends."""
STOPPING = 120.0
"""Seconds for the tasks to leave a checkpoint when the run is asked to stop."""
START = "start one with `ray start --head` and give its --address"
NODES = (
    "every node needs this package, and data, results and cache at the same paths, to be written"
)
REMEDIES = (
    ("Permission denied", "set RAY_TMPDIR to a folder of yours: Ray's is somebody else's"),
    ("Version mismatch", "install the same versions of Ray and Python on every node"),
    (
        "ddress already in use",
        "`ray stop` ends what is left of an earlier cluster; else give `ray start --head` another "
        "--port and --dashboard-port, and run with its --address",
    ),
    (
        "ObjectStoreFullError",
        "give `ray start` a larger --object-store-memory, and containers a larger /dev/shm "
        "(docker run --shm-size)",
    ),
    ("OutOfDiskError", "free some space where Ray keeps its files, or set RAY_TMPDIR"),
)
"""What Ray says where something is wrong, and what to do about it."""


class RayExecutor:
    """Runs jobs side by side, each on a share of a GPU, or on as many CPUs as it has threads.

    Args:
        address: of a running cluster; None starts one on this machine.
        workplace: whose device the jobs use.
        per_gpu: jobs that share a GPU.

    Raises:
        CohortError: Ray is not installed or the cluster not to be reached.
    """

    def __init__(self, address: str | None, workplace: Workplace, per_gpu: int = 1) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise CohortError(
                "--executor ray needs Ray: pip install 'pointkd-bench[ray]'"
            ) from None
        self._ray, self._device, self._per_gpu = ray, workplace.device.type, per_gpu
        self._workers = workplace.workers
        try:
            _reach(address or "")
            ray.init(
                address or "local",
                ignore_reinit_error=True,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises plain exceptions too
            told = f"no Ray cluster at {address or 'this machine'} ({_in_a_line(error)})"
            raise CohortError(f"{told}; {_remedy(error) or START}") from None

    @property
    def slots(self) -> Sequence[object]:
        """The cluster's GPUs or CPUs, each as often as jobs fit into it."""
        kind, needed = self._needed(wanted_threads())
        return range(int(self._ray.cluster_resources().get(kind, 0) / needed))

    def _needed(self, threads: int) -> tuple[str, float]:
        """The resource that a job uses, and how much of it."""
        if self._device == "cuda":
            return "GPU", 1 / self._per_gpu
        return "CPU", threads + self._workers

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Run jobs, cut so that they end together, until each has done its part.

        What that is, see :func:`~benchmark.running.process.supervise`.

        Raises:
            Interrupted: a task was asked to stop.
            CohortError: a job failed as a whole, or no node has room for it.
        """
        tasks = [self._start(job) for job in share_out(jobs, len(self.slots))]
        try:
            with closing(View(jobs)) as view:
                self._wait(tasks, view)
        except BaseException:
            _, left = self._ray.wait(tasks, num_returns=len(tasks), timeout=0)
            for task in left:  # Ray may end this process for the cancelling of one that has ended
                self._ray.cancel(task)
            self._ray.wait(tasks, num_returns=len(tasks), timeout=STOPPING)
            raise

    def _start(self, job: Job) -> Any:
        """Submit a job."""
        kind, needed = self._needed(job.threads)
        every = {kind: needed, "CPU": float(job.threads + self._workers)}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(k, 0) >= n for k, n in every.items()) for node in nodes):
            wanted = " and ".join(f"{count:g} {name}" for name, count in every.items())
            raise CohortError(
                f"{job.title} needs {wanted}, and none of the cluster's {len(nodes)} nodes has as "
                "many; set OMP_NUM_THREADS, --workers or --device, or add a node"
            )
        task = self._ray.remote(_run).options(
            name=job.title,
            max_retries=RETRIES,
            num_gpus=needed if kind == "GPU" else 0,
            num_cpus=job.threads + self._workers,
        )
        return task.remote(_absolute(job), versions())

    def _wait(self, tasks: Sequence[Any], view: View) -> None:
        """Wait for all; raise what one of them raised."""
        left = list(tasks)
        while left:
            done, left = self._ray.wait(left, timeout=PERIOD)
            self._check(done)
            view.show()

    def _check(self, done: Sequence[Any]) -> None:
        errors = self._ray.exceptions
        try:
            self._ray.get(list(done))
        except errors.RayTaskError as error:
            if isinstance(error.cause, PointKDError):
                raise error.cause from None
            if not isinstance(error.cause, OSError | ImportError):
                raise
            raise CohortError(f"a node failed: {_in_a_line(error.cause)}; {NODES}") from None
        except errors.RayError as error:
            remedy = _remedy(error) or "run the same command again"
            raise CohortError(f"Ray gave up on a job: {_in_a_line(error)}; {remedy}") from None


def _reach(address: str) -> None:
    """Raise OSError unless something listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=REACH).close()


def _absolute(job: Job) -> Job:
    """The job as seen from any folder, on whichever device of its kind a node gives it."""
    place = job.workplace
    seen = replace(place.absolute(), device=torch.device(place.device.type))
    checkpoint = job.checkpoint.resolve() if job.checkpoint else None
    return replace(job, workplace=seen, checkpoint=checkpoint)


def _in_a_line(error: BaseException) -> str:
    return " ".join(describe(error).split())


def _remedy(error: BaseException) -> str:
    """What to do about what Ray says is wrong; nothing where that is not known."""
    return next((remedy for sign, remedy in REMEDIES if sign in describe(error)), "")


def versions() -> dict[str, str | None]:
    """What must be equal on every node, for records to be compared."""
    tools = {tool: tool_version(tool).partition("+")[0] for tool in TOOLS}
    return {"Python": platform.python_version(), **tools, "commit": code_version()[0]}


def check_versions(wanted: Mapping[str, str | None]) -> None:
    """Compare this node's versions with those of the machine that began the run.

    Raises:
        CohortError: one differs; names all that do.
    """
    here = versions()
    differing = [
        f"{name} {here[name]}, not {wanted[name]}" for name in here if here[name] != wanted[name]
    ]
    if differing:
        raise CohortError(
            f"node {platform.node()} has {'; '.join(differing)}; install the same on every node"
        )


def _run(job: Job, wanted: Mapping[str, str | None]) -> None:
    """The task."""
    check_versions(wanted)
    job.workplace.load_others()
    supervise(job)
