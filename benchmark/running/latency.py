"""Latencies of a run's networks: timed in turns, once nothing of the run trains beside them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

import torch

from benchmark.config.matrix import Cell
from benchmark.costs.measure import MEASURED_FRAMES, Deployed, latencies
from benchmark.device import quiet_libraries
from benchmark.files.locks import Lock
from benchmark.records import store
from benchmark.records.provenance import machine
from benchmark.records.record import Latency, Record
from benchmark.records.store import NONE
from benchmark.running.outcome import load_model, load_teacher
from benchmark.running.process import keep_freed_memory
from benchmark.running.server import CONTEXT
from benchmark.running.setups import make_setup, make_validation
from benchmark.running.workplace import Workplace, wanted_threads
from benchmark.signals import on_warnings
from kd_methods.core.errors import PointKDError, describe

LEFT = "latencies are left as timed while cells trained: "


class TimingError(PointKDError):
    """Networks that could not be timed."""


def time_in_turns(cells: Sequence[Cell], workplace: Workplace) -> None:
    """Time each teacher and student of the finished cells in turns; write it into their records.

    A cell's own process has timed its network too, but beside other cells that trained, and
    students hours apart. This is done in a process of its own, as whatever initialises CUDA, and
    only where a cell of this machine has not been timed so.

    Args:
        cells: of one matrix; those without a figure are left out.

    Raises:
        TimingError: says why; the records keep the latencies that they have.
    """
    done = [cell for cell in cells if workplace.record(cell)["status"] == "done"]
    lock = Lock(workplace.folder.lock("timing"))  # another run would disturb it
    if not lock.acquire(workplace.patience):
        raise TimingError(LEFT + f"another run has timed for {workplace.patience:g} s")
    try:
        if any(_to_be_timed(workplace.record(cell), workplace) for cell in done):
            _time(done, workplace)
    finally:
        lock.release()


def _time(done: Sequence[Cell], workplace: Workplace) -> None:
    """Time the networks of cells that are done."""
    best_first = sorted(done, key=lambda cell: cell.method != NONE)
    networks = list({cell.student: cell for cell in reversed(best_first)}.values())
    print(f"timing {len(networks)} networks in turns", flush=True)
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_work, args=(networks, workplace, sender), daemon=True)
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        answer = "the process that timed them died"
    finally:
        process.kill()
        process.join()
    if isinstance(answer, str):
        raise TimingError(LEFT + answer)
    for cell in done:
        store.replace_latency(workplace.results, cell.identity(), answer[cell.student])


def _to_be_timed(record: Record, workplace: Workplace) -> bool:
    """Whether a record's latency is of this machine, but not in turns with others."""
    time = record["cost"]["latency_ms"] if record["cost"] else None
    here = record["provenance"]["machine"] == machine(workplace.device)
    return here and not (time and time.get("in_turns"))


def _work(networks: Sequence[Cell], workplace: Workplace, sender: Connection) -> None:
    """Send the latency of each network by its student's name, or why there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    on_warnings(signal.SIG_IGN)
    quiet_libraries()
    workplace.load_others()
    keep_freed_memory()
    torch.set_num_threads(wanted_threads())
    try:
        sender.send(_measure(networks, workplace))
    except Exception as error:
        sender.send(describe(error))


def _measure(networks: Sequence[Cell], workplace: Workplace) -> dict[str, Latency]:
    frames = make_validation(networks[0], workplace)
    measured = [frames.dataset.frame(name) for name in frames.ids[:MEASURED_FRAMES]]
    deployed = [_deploy(cell, workplace) for cell in networks]
    found = latencies(deployed, measured)
    for latency in found:
        latency["in_turns"] = True
    return dict(zip([cell.student for cell in networks], found, strict=True))


def _deploy(cell: Cell, workplace: Workplace) -> Deployed:
    model = load_model(cell, workplace) if cell.teacher else load_teacher(cell, workplace)
    setup = make_setup(cell, workplace)
    return Deployed(model, setup.family, setup.grid, setup.device, setup.autocast)
