"""A Ray cluster gives the records of a single process, even where it loses workers."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from in_process import run_matrix as run_in_process
from runners import results

from benchmark.running import matrix_run
from benchmark.running.executors import Execution, make_executor
from benchmark.running.journal import Journal
from benchmark.running.process import CohortError
from benchmark.running.ray import check_versions, versions

exceptions = pytest.importorskip("ray.exceptions")


def of_task(error):
    """As Ray hands over what a task raised."""
    return exceptions.RayTaskError("_run", "a traceback", error)


RUN = "import os, sys, pytest; os._exit(pytest.main(sys.argv[1:]))"
"""Ends without exit handlers, in which Ray may end the process with a status of its own."""


@pytest.mark.timeout(480)
def test_those_on_a_cluster_pass(tmp_path):
    """In a process of their own: Ray ends the whole process of a driver that loses its node."""
    options = [
        "-v",
        "-m",
        "cluster",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "-o",
        "timeout=400",
    ]
    settings = {**os.environ, "RAY_worker_niceness": "0"}  # by default other tests go first
    output = tmp_path / "output.txt"
    with output.open("w") as file:
        command = [sys.executable, "-c", RUN, *options, __file__]
        run = subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True, env=settings
        )
    try:
        status = run.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)  # what is left of the cluster
        print(output.read_text())
    assert status == 0
    assert "3 passed" in output.read_text()


@pytest.fixture(scope="module")
def cluster():
    """Two nodes, each with room for one job. They end with this process, and not before: a driver
    that loses its node is ended by Ray."""
    from ray.cluster_utils import Cluster

    room = torch.get_num_threads()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": room})
    cluster.add_node(num_cpus=room)
    return cluster


def kill_a_worker(workplace, killed):
    """SIGKILL to the first Ray worker whose job is in a cell's step."""
    folder = Journal(workplace.results).folder
    while not killed:
        time.sleep(0.01)
        for marker in folder.glob("running-*"):
            with suppress(FileNotFoundError):
                if len(marker.read_text()[21:].strip()) == 16:
                    killed.append(int(marker.name.split("-")[-2]))
                    os.kill(killed[0], signal.SIGKILL)
                    return


@pytest.mark.cluster
def test_a_cluster_that_loses_a_worker_gives_the_same_records(
    cluster, matrix, make_workplace, tmp_path, monkeypatch, capsys
):
    request = matrix(["none", "fitnet"], seeds=(0, 1))
    alone, shared = (make_workplace(tmp_path / name) for name in ("alone", "shared"))
    run_in_process(request, alone)
    shared = replace(shared, checkpoint_minutes=0.001)
    monkeypatch.setattr("benchmark.running.view.QUIET", 2.0)
    killed = []
    thread = threading.Thread(target=kill_a_worker, args=(shared, killed), daemon=True)
    thread.start()
    matrix_run.run_matrix(
        request, shared, make_executor(Execution(executor="ray", address=cluster.address), shared)
    )
    assert killed
    assert results(shared) == results(alone)
    assert "of 4 cells ended" in capsys.readouterr().out


@pytest.mark.cluster
def test_a_job_that_no_node_has_room_for_is_refused(cluster, matrix, workplace):
    execute = make_executor(Execution(executor="ray", address=cluster.address), workplace)
    (job,) = matrix_run.student_jobs(matrix(["none"]), workplace)
    with pytest.raises(CohortError, match="needs 999 CPU, and none of the cluster's 2 nodes"):
        execute([replace(job, threads=999)])


@pytest.mark.cluster
def test_a_job_that_fails_as_a_whole_says_why(cluster, matrix, workplace):
    execute = make_executor(Execution(executor="ray", address=cluster.address), workplace)
    (job,) = matrix_run.student_jobs(matrix(["none"]), workplace)
    nowhere = replace(workplace, data=workplace.data / "nowhere")
    with pytest.raises(CohortError, match="nowhere"):
        execute([replace(job, workplace=nowhere)])


def test_a_cluster_that_does_not_answer_is_named(workplace):
    with pytest.raises(CohortError, match="no Ray cluster at 127.0.0.1:1 .*refused.*--address"):
        make_executor(Execution(executor="ray", address="127.0.0.1:1"), workplace)


def test_without_ray_the_remedy_is_told(workplace, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CohortError, match="pip install"):
        make_executor(Execution(executor="ray"), workplace)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/tmp/ray/x"), "'/tmp/ray/x'.*set RAY_TMPDIR"),
        (RuntimeError("Version mismatch: A:\n    Ray: 2.9\nB:\n    Ray: 2.40"), "A: Ray: 2.9 B: .*"
         "same versions of Ray and Python on every node"),
        (OSError(98, "Address already in use"), "ray stop.* --port and --dashboard-port"),
        (Exception("The current node timed out during startup"), "timed out .*`ray start --head`"),
    ],
    ids=["temporary folder", "versions", "port", "another"],
)  # fmt: skip
def test_a_cluster_that_cannot_be_started_is_told_with_the_remedy(
    workplace, monkeypatch, error, told
):
    monkeypatch.setattr("ray.init", raising(error))
    with pytest.raises(CohortError, match=f"no Ray cluster at this machine .*{told}"):
        make_executor(Execution(executor="ray"), workplace)


def raising(error):
    def refuse(*_, **__):
        raise error

    return refuse


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            exceptions.ObjectStoreFullError("it is full"),
            "it is full.*; give .* larger --object-store-mem",
        ),
        (exceptions.OutOfDiskError("no room"), "no room.*; free some space where Ray keeps"),
        (exceptions.NodeDiedError("lost"), "lost.*; run the same command again"),
        (
            of_task(PermissionError(13, "Permission denied", "/data")),
            "'/data'; every node needs .* at the same paths",
        ),
        (
            of_task(ModuleNotFoundError("No module named 'detectors'")),
            "'detectors'; every node needs this package",
        ),
        (of_task(CohortError("a method did it")), "a method did it"),
    ],
    ids=["object store", "disk", "node", "folder of a node", "package", "ours"],
)
def test_what_ends_a_task_is_told_with_the_remedy(workplace, monkeypatch, error, told):
    monkeypatch.setattr("ray.init", lambda *_, **__: None)
    monkeypatch.setattr("ray.get", raising(error))
    execute = make_executor(Execution(executor="ray"), workplace)
    with pytest.raises(CohortError, match=told):
        execute._check([])


def test_nodes_with_other_versions_are_named():
    here = versions()
    check_versions(here)
    with pytest.raises(
        CohortError, match=r"^node \S+ has torch .*, not 1.0; .*commit .*, not abc;"
    ):
        check_versions(here | {"torch": "1.0", "commit": "abc"})
