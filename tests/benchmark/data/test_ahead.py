"""Things made ahead by worker processes."""

import os
import signal
import time
from multiprocessing.connection import wait

import numpy as np
import psutil
import pytest
import torch

from benchmark.data import ahead
from benchmark.data.ahead import make_ahead
from benchmark.data.errors import DataError
from benchmark.running.server import CONTEXT


def square(index):
    return index, index**2


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_things_come_in_order(workers):
    assert list(make_ahead(square, 3, 20, workers)) == [square(i) for i in range(3, 20)]
    assert list(make_ahead(square, 5, 5, workers)) == []


def test_a_worker_that_dies_is_replaced():
    others = psutil.Process().children()
    made = make_ahead(square, 0, 40, 2)
    found = [next(made) for _ in range(5)]
    for child in psutil.Process().children():
        if child not in others:
            child.kill()
    found += list(made)
    assert found == [square(i) for i in range(40)]


def test_workers_that_die_in_the_middle_of_a_thing_are_replaced():
    """What they send is larger than a pipe, so they are sending whenever they are killed."""
    others = psutil.Process().children()
    made = make_ahead(large, 0, 40, 2)
    found = [int(next(made)[0]) for _ in range(5)]
    for place in (0, 1):
        time.sleep(0.3)
        workers = [child for child in psutil.Process().children() if child not in others]
        workers[place].kill()
        found.append(int(next(made)[0]))
    found += [int(one[0]) for one in made]
    assert found == list(range(40))


def test_a_worker_that_dies_disturbs_nothing_else():
    others = psutil.Process().children()
    made = make_ahead(square, 0, 40, 1)
    assert next(made) == square(0)
    (worker,) = (child for child in psutil.Process().children() if child not in others)
    worker.kill()
    for _ in range(100):  # a step of a cell, which a handler of dead children would interrupt
        time.sleep(0.01)
    assert list(made) == [square(i) for i in range(1, 40)]


def die(index):
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_die_again_and_again_end_it():
    with pytest.raises(RuntimeError, match="died 3 times; fewer --workers"):
        list(make_ahead(die, 0, 3, 1))


def lack(index):
    raise DataError("training/velodyne/7.bin: 3 bytes")


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_are_as_they_were_raised(workers):
    with pytest.raises(DataError, match=r"^training/velodyne/7.bin: 3 bytes$"):
        list(make_ahead(lack, 0, 3, workers))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    list(make_ahead(square, 0, 5, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_worker_outlives_its_pass():
    def children():
        return {child.pid for child in psutil.Process().children()}

    others = children()  # of earlier tests, such as a process server
    made = make_ahead(square, 0, 1000, 2)
    next(made)
    workers = children() - others
    assert len(workers) == 2
    made.close()
    deadline = time.monotonic() + 10
    while workers & children():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_are_told_apart_from_failures_of_what_is_made(tmp_path, workers):
    """Only the death of a worker is tried again."""
    calls = tmp_path / "calls"

    def fail(index):
        with calls.open("a") as file:
            file.write(f"{index} ")
        raise RuntimeError("of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        list(make_ahead(fail, 0, 3, workers))
    assert calls.read_text().split().count("0") == 1
    assert ahead.DEATHS > 1


def test_what_cannot_be_sent_is_told():
    with pytest.raises(RuntimeError, match="cannot be sent: .*local"):
        list(make_ahead(lambda index: lambda: index, 0, 3, 1))


def large(index):
    """More than a pipe holds."""
    return np.full(1 << 20, index)


def read_one_and_wait(sender):
    made = make_ahead(large, 0, 100, workers=1)
    sender.send(int(next(made)[0]))
    time.sleep(600)


def test_workers_with_full_pipes_end_with_a_parent_that_is_killed():
    """They have inherited the pipe whose closing says that it is gone."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=read_one_and_wait, args=(sender,))
    process.start()
    assert receiver.recv() == 0
    (worker,) = psutil.Process(process.pid).children()
    time.sleep(2)  # it has filled its pipe
    process.kill()
    assert wait([process.sentinel], timeout=30)
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    process.join()
