"""Whatever a method does to its process ends its own cell."""

import multiprocessing
import os
import platform
import resource
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch
from in_process import publish_teachers, run_matrix

from benchmark.records.folder import ResultsFolder
from benchmark.records.store import read_all
from benchmark.running import process
from benchmark.running.cohort import Interrupted, run_cohort
from benchmark.running.journal import Journal
from benchmark.running.process import CohortError, Death, supervise
from benchmark.running.server import CONTEXT
from benchmark.running.workplace import Job
from kd_methods import load_plugin

PLUGIN = """
import os, signal, time
from kd_methods import KDMethod, register


class Harmful(KDMethod):
    def needs(self):
        return {"neck"}

    def build(self, teacher, student):
        self.harmful = iter([False, True])

    def loss(self, teacher, student, batch):
        if next(self.harmful):
            self.harm()
        return {"zero": 0 * student.neck.values.sum()}


@register("killed", paper="a test", year=2026)
class Killed(Harmful):
    '''As the kernel does when memory is exhausted.'''
    def harm(self):
        os.kill(os.getpid(), signal.SIGKILL)


@register("hanging", paper="a test", year=2026)
class Hanging(Harmful):
    '''Never comes back.'''
    def harm(self):
        time.sleep(3600)


@register("leaving", paper="a test", year=2026)
class Leaving(Harmful):
    '''Ends its process as if all were well.'''
    def harm(self):
        os._exit(0)


@register("exiting", paper="a test", year=2026)
class Exiting(Harmful):
    '''Asks Python to end.'''
    def harm(self):
        raise SystemExit


@register("meddling", paper="a test", year=2026)
class Meddling(Harmful):
    '''Changes what all cells share.'''
    def harm(self):
        import torch
        torch.set_default_dtype(torch.float64)


@register("greedy", paper="a test", year=2026)
class Greedy(Harmful):
    '''Asks for more memory than there is.'''
    def harm(self):
        import torch
        torch.empty(1 << 50)


@register("slow", paper="a test", year=2026)
class Slow(KDMethod):
    '''Takes its time.'''
    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        time.sleep(0.3)
        return {"zero": 0 * student.neck.values.sum()}
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """A file with methods that harm their process."""
    path = tmp_path_factory.mktemp("plugin") / "harmful.py"
    path.write_text(PLUGIN)
    load_plugin(path)
    return path


@pytest.fixture
def harmed(matrix, workplace, plugin):
    """Makes a job with harmful methods."""

    def make(methods):
        request = matrix(methods)
        publish_teachers(request, workplace)
        place = replace(workplace, plugins=(plugin,), patience=8.0)
        return Job(
            cells=request.cohorts()[0].cells,
            teacher=request.teacher("pointpillars"),
            workplace=place,
        )

    return make


def results(workplace):
    return {
        r["method"]: {key: r[key] for key in ("ap", "weights_sha256", "losses_sha256")}
        for r in read_all(workplace.results)
        if r["status"] == "done" and "@" in r["student"]
    }


def test_processes_that_die_or_hang_cost_one_cell_each(
    harmed, workplace, matrix, make_workplace, tmp_path, capfd
):
    harmful = ["killed", "leaving", "exiting", "meddling", "hanging", "greedy"]
    supervise(harmed(["none", *harmful, "fitnet"]))
    found = {r["method"]: r for r in read_all(workplace.results) if "@" in r["student"]}
    reasons = {
        "killed": "its process was killed by signal 9 during its step",
        "hanging": "its process made no progress for 8 s during its step",
        "greedy": "RuntimeError",
        "leaving": "its process exited with code 0 during its step",
        "exiting": "SystemExit (harmful.py:",
        "meddling": "meddling changes the default dtype, which other cells share; put it back (",
    }
    told = capfd.readouterr().err
    died = "its process was killed by signal 9 (the step of pointpillars@4 killed seed 0)"
    assert told.count(f"pointpillars students, seed 0: {died}") == 2
    for method, reason in reasons.items():
        assert found[method]["status"] == "failed"
        assert reason in found[method]["reason"]
    other = make_workplace(tmp_path / "undisturbed")
    run_matrix(matrix(["none", "fitnet"]), other)
    assert results(workplace) == results(other)


def hangs(workplace, cell):
    """Whether a process has begun the step of a cell."""
    markers = workplace.folder.marker("*")
    return any(cell.identity() in file.read_text() for file in markers.parent.glob(markers.name))


def test_a_process_that_hangs_is_ended_soon_after_it_is_asked_to_stop(
    harmed, workplace, monkeypatch
):
    job = harmed(["hanging"])
    job = replace(job, workplace=replace(job.workplace, patience=600.0))
    monkeypatch.setattr(process, "STOPPING", 2.0)
    with pytest.raises(Interrupted):
        supervise(job, lambda: hangs(workplace, job.cells[0]))
    assert not Journal(workplace.results).locked(job.cells[0].identity())


def test_a_process_that_hangs_ends_soon_after_its_parent(harmed, workplace):
    job = harmed(["hanging"])
    runner = CONTEXT.Process(target=supervise, args=(job,))
    runner.start()
    deadline = time.monotonic() + 60
    while not hangs(workplace, job.cells[0]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    runner.kill()
    runner.join()
    journal = Journal(workplace.results)
    assert journal.locked(job.cells[0].identity())
    while journal.locked(job.cells[0].identity()):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_process_that_is_asked_to_stop_leaves_a_checkpoint(harmed, workplace):
    job = harmed(["none", "slow"])
    start = CONTEXT.Process.start

    def stop_soon(process):
        start(process)
        threading.Thread(target=terminate_in_training, args=(process.pid, workplace)).start()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CONTEXT.Process, "start", stop_soon)
        with pytest.raises(Interrupted, match="run the same command to resume"):
            supervise(job)
    assert len(list(Journal(workplace.results).folder.glob("*.pt"))) == 2
    assert not Journal(workplace.results).locked(job.cells[0].identity())
    supervise(job)
    assert not job.unfinished()


def terminate_in_training(pid, workplace):
    folder = Journal(workplace.results).folder
    for _ in range(600):
        time.sleep(0.1)
        names = [path.read_text()[21:].strip() for path in folder.glob("running-*")]
        if any(len(name) == 16 for name in names):
            os.kill(pid, signal.SIGTERM)
            return


def test_a_cohort_that_fails_as_a_whole_says_why(harmed):
    job = harmed(["none"])
    nowhere = replace(job, workplace=replace(job.workplace, data=job.workplace.data / "nowhere"))
    with pytest.raises(CohortError, match="nowhere"):
        supervise(nowhere)


def test_a_message_longer_than_a_pipe_takes_arrives(harmed, tmp_path):
    talkative = tmp_path / "talkative.py"
    talkative.write_text(
        "from kd_methods import MethodError\nraise MethodError('line\\n' * 100_000)\n"
    )
    job = harmed(["none"])
    place = replace(job.workplace, plugins=(talkative,))
    with pytest.raises(CohortError, match=r"talkative.py: line\nline\n[^$]*\(and more\)$"):
        supervise(replace(job, workplace=place))


@pytest.fixture
def deaths(monkeypatch):
    """Lets processes end as a list of `Death` says instead of running; then as they should."""

    def end(job, *ends):
        left = iter(ends)
        monkeypatch.setattr(
            process, "_run_once", lambda job, stop: next(left, None) or run_cohort(job)
        )
        return job

    return end


def test_a_results_folder_that_is_removed_ends_the_process(tmp_path):
    marker = tmp_path / "work" / "running-here-1-0"
    sleeper, receiver = start_sleeping(60)
    with pytest.raises(CohortError, match=r"work was removed while cells trained .* same command"):
        process._watch(sleeper, receiver, marker, 60.0, lambda: False)
    assert sleeper.exitcode == -signal.SIGKILL


def start_sleeping(seconds):
    """A process that ends after a while, and the pipe that tells so."""
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    sleeper = fork.Process(target=time.sleep, args=(seconds,))
    sleeper.start()
    sender.close()
    return sleeper, receiver


@pytest.mark.parametrize(("seconds", "patience", "hung"), [(0.3, 60, False), (60, 0.1, True)])
def test_a_process_whose_server_was_killed_is_watched_as_before(
    tmp_path, monkeypatch, seconds, patience, hung
):
    marker = tmp_path / "marker"
    marker.touch()
    sleeper, receiver = start_sleeping(seconds)
    read, write = os.pipe()
    os.close(write)  # as the end of a server that is gone
    monkeypatch.setattr(process, "LOOK", 0.05)
    monkeypatch.setattr(type(sleeper), "sentinel", read)
    assert process._watch(sleeper, receiver, marker, patience, lambda: False) == hung
    assert sleeper.exitcode == (-signal.SIGKILL if hung else 0)
    os.close(read)


def test_a_process_may_die_once_in_a_cells_step(harmed, deaths, workplace):
    job = harmed(["none", "fitnet"])
    supervise(deaths(job, Death(job.cells[0].identity(), "was killed by signal 9")))
    assert results(workplace).keys() == {"none", "fitnet"}


def test_deaths_outside_any_step_end_the_cohort(harmed, deaths):
    job = deaths(harmed(["none"]), *3 * [Death("checkpoint", "was killed by signal 9")])
    with pytest.raises(CohortError, match=r"was killed by signal 9 \(checkpoint\); see .*\.log"):
        supervise(job)


def test_a_failure_is_not_published_while_another_runner_tries_the_cell(harmed, deaths, workplace):
    job = harmed(["none", "fitnet"])
    culprit, journal = job.cells[0], Journal(workplace.results)
    lock = journal.lock(culprit)
    supervise(deaths(job, Death(culprit.identity(), "made no progress for 1 s", hung=True)))
    assert results(workplace).keys() == {"fitnet"}
    lock.release()
    supervise(job)
    assert results(workplace).keys() == {"none", "fitnet"}


def test_markers_of_dead_runners_are_cleared(tmp_path):
    child = CONTEXT.Process(target=time.sleep, args=(0,))
    child.start()
    child.join()
    node = os.uname().nodename
    folder = ResultsFolder(tmp_path)
    folder.work.mkdir()
    dead, alive = (folder.work / f"running-{node}-{pid}-0" for pid in (child.pid, os.getpid()))
    elsewhere = folder.work / f"running-another-{child.pid}-0"
    for marker in (dead, alive, elsewhere):
        marker.touch()
    process.clear_markers(folder)
    assert sorted(folder.work.iterdir()) == sorted([alive, elsewhere])


def count_faults(keep, sender):
    """Page faults of a tensor that is made and dropped again and again."""
    if keep:
        process.keep_freed_memory()
    for turn in range(6):
        torch.ones(1 << 24)  # 64 MB
        if turn == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_is_freed_is_not_cleared_again():
    faults = []
    for keep in (True, False):
        receiver, sender = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=count_faults, args=(keep, sender))
        process.start()
        process.join()
        faults.append(receiver.recv())
    assert faults[0] < faults[1] / 4
