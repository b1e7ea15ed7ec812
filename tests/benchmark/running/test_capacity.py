"""What a machine lends to a run."""

import os
import re
import time

import psutil
import pytest
import torch

from benchmark.running import capacity


@pytest.mark.parametrize(("granted", "cores"), [("1", 1), ("999", 4), ("", 4), ("two", 4)])
def test_slurm_may_grant_fewer_cores(monkeypatch, granted, cores):
    monkeypatch.setattr(capacity.joblib, "cpu_count", lambda: 4)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", granted)
    assert capacity.usable_cores() == cores


def test_a_busy_core_is_seen():
    use, until = capacity.Use(), time.process_time() + 0.5
    while time.process_time() < until:
        pass
    busy = int(re.search(r"cores (\d+) % busy", use.told())[1])
    assert 0.6 * 100 / os.cpu_count() <= busy <= 100


def test_affinity_counts(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert capacity.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("most", "used"),
    [
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ],
)
def test_a_container_may_have_less_memory_than_the_machine(tmp_path, most, used):
    (tmp_path / "memory").mkdir()
    (tmp_path / most).write_text("3000000\n")
    (tmp_path / used).write_text("1000000\n")
    assert capacity.free_memory(tmp_path) == 2_000_000
    (tmp_path / most).write_text("max\n")
    assert capacity.free_memory(tmp_path) > 10_000_000


def test_the_largest_process_is_measured():
    with psutil.Popen(["sleep", "60"]) as child:
        try:
            assert 0 < capacity.largest_process() < 1 << 40
        finally:
            child.kill()


def test_slots_of_a_processor(monkeypatch):
    monkeypatch.setattr(capacity, "usable_cores", lambda: 8)
    cpu = torch.device("cpu")
    assert len(capacity.slots(cpu, None, 1, 1)) == 8
    assert len(capacity.slots(cpu, None, 1, 3)) == 2
    assert len(capacity.slots(cpu, None, 1, 16)) == 1
    assert len(capacity.slots(cpu, 5, 1, 1)) == 5


def test_slots_of_cards(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    names = [str(slot) for slot in capacity.slots(torch.device("cuda"), None, 2, 1)]
    assert names == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert len(capacity.slots(torch.device("cuda"), 3, 2, 1)) == 3
    assert [str(slot) for slot in capacity.slots(torch.device("cuda:1"), None, 2, 1)] == [
        "cuda:1",
        "cuda:1",
    ]


@pytest.mark.parametrize(
    ("slots", "threads", "readers"), [(1, 1, 4), (4, 1, 3), (16, 1, 0), (3, 2, 3), (32, 1, 0)]
)
def test_readers_take_the_cores_that_are_left(monkeypatch, slots, threads, readers):
    monkeypatch.setattr(capacity, "usable_cores", lambda: 16)
    assert capacity.readers(slots, threads) == readers
