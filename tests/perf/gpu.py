"""The whole examination of a graphics card in one command, a table after every part.

    python tests/perf/gpu.py --data KITTI --json gpu.json     # at most 8 minutes on one H100
    python tests/perf/gpu.py --tiny                           # a glimpse of every part on the CPU

KITTI is a folder with two dozen real frames or more; without it, synthetic frames are read. The
networks are untrained; ``kitti``'s grid and micro-batch, one micro-batch an update. Needs no
network. A part that fails says so and the next one runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from stepping import METHODS_OF_A_COHORT, Enough, make_cohort, time_steps
from tabulate import tabulate
from timing import least_seconds
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmark.config.profile import load_profile
from benchmark.data.batches import evaluation_batch
from benchmark.data.kitti import KittiDataset
from benchmark.device import choose_device
from benchmark.records.provenance import environment
from benchmark.running.server import CONTEXT
from benchmark.training.learner import Learner
from benchmark.training.lockstep import SharedBatch, train
from benchmark.training.setup import Clock, TrainingSetup
from detectors import Inputs
from detectors.core.checkpoints import state_hash
from detectors.core.registry import FAMILIES
from detectors.operators import sources
from detectors.operators.per_batch import Searches

Rows = Iterator[dict[str, Any]]
"""The lines of a part's table."""
STUDENTS = {"pointpillars": "pointpillars@4", "second": "second@4", "pointrcnn": "pointrcnn@8"}
MEGA = 1e6


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What is examined, and how long.

    Attributes:
        device: the card.
        folder: for what is generated.
        data: folder of real frames; None generates some.
        profile: of grid and micro-batch.
        families: of detectors.
        precisions: the last is that of parts that try one.
        steps: timed of each kind, after one to warm up.
        workers: numbers of processes that read ahead.
        processes: numbers of processes on the card.
        cells: of a cohort.
        frames: that are evaluated.
    """

    device: torch.device
    folder: Path
    data: Path | None = None
    profile: str = "kitti"
    families: Sequence[str] = tuple(STUDENTS)
    precisions: Sequence[str] = ("fp32", "bf16")
    steps: int = 8
    workers: Sequence[int] = (0, 4, 12)
    processes: Sequence[int] = (1, 2, 4)
    cells: int = 10
    frames: int = 8

    def cohort(
        self, student: str, methods: Sequence[str], precision: str = ""
    ) -> tuple[list[Learner], TrainingSetup]:
        """Fresh learners of a student beside an untrained teacher, or of a family's teacher."""
        micro = load_profile(self.profile).recipe(student.partition("@")[0]).micro_batch_size
        cells, setup = make_cohort(
            self.folder, student, methods, self.profile, precision or self.precisions[-1],
            self.device, self.data, batch_size=micro, micro_batch_size=micro,
        )  # fmt: skip
        return [Learner(cell, setup) for cell in cells], setup


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 1 if one failed."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        exam = _examination(options, Path(folder))
        found, failed = {}, 0
        for name, part in PARTS.items():
            begun = time.perf_counter()
            print(f"\n## {name}", flush=True)
            try:
                found[name] = list(part(exam))
                print(tabulate(found[name], "keys", floatfmt=".4g"))
            except Exception:
                failed += 1
                traceback.print_exc()
            print(f"({time.perf_counter() - begun:.0f} s)", flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(failed > 0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of real frames in KITTI's layout")
    parser.add_argument("--json", type=Path, help="also write all figures there, part by part")
    parser.add_argument("--tiny", action="store_true", help="a glimpse of every part, on the CPU")
    parser.add_argument("--families", default=",".join(STUDENTS), help="default %(default)s")
    return parser.parse_args(arguments)


def _examination(options: argparse.Namespace, folder: Path) -> Examination:
    families = options.families.split(",")
    if options.tiny:
        return Examination(
            device=torch.device("cpu"), folder=folder, data=options.data, profile="smoke",
            families=families, precisions=("fp32",), steps=1, workers=(0, 1), processes=(1, 2),
            cells=3, frames=1,
        )  # fmt: skip
    device = choose_device("cuda")
    return Examination(device=device, folder=folder, data=options.data, families=families)


def card(exam: Examination) -> Rows:
    """What is examined."""
    made = environment(exam.device)
    yield {
        "machine": made["machine"],
        **made["versions"],
        "python": made["python"],
        "CUDA": torch.version.cuda or "none",
        "operators that are ours": list(sources(exam.device.type).values()).count("own"),
        "data": str(exam.data or "synthetic"),
        "profile": exam.profile,
    }


def operators(exam: Examination) -> Rows:
    """Every operator against the CPU's result, and its time."""
    sys.path.append(str(Path(__file__).parents[1] / "detectors" / "operators"))
    from test_on_cuda import CASES, run

    for names, case in CASES.items():
        expected, found = run(case, "cpu"), run(case, exam.device)
        worst = max(
            float((one.cpu().double() - other.double()).abs().max())
            for one, other in zip(found, expected, strict=True)
        )
        seconds = _seconds(lambda case=case: run(case, exam.device), exam)
        yield {"operator": names, "largest difference": worst, "ms": 1e3 * seconds}


def steps(exam: Examination) -> Rows:
    """A training step of teacher and student by part, in both precisions."""
    for family in exam.families:
        for precision in exam.precisions:
            for name in (family, STUDENTS[family]):
                _forget_peak(exam.device)
                methods = ["none"] if name == family else ["none", "fitnet"]
                learners, setup = exam.cohort(name, methods, precision)
                spent = time_steps(learners, setup, exam.steps)
                own, data = spent.cells[0]["own"], spent.cells[0]["data"]
                yield {
                    "network": name,
                    "precision": precision,
                    "data (ms)": 1e3 * data,
                    "teacher's pass (ms)": 1e3 * spent.cells[-1]["teacher"],
                    "own step (ms)": 1e3 * own,
                    "frames/s alone": setup.frames.batch_size / (own + data),
                    "peak memory (MB)": _peak(exam.device),
                }


def plain_mmdet3d(exam: Examination) -> Rows:
    """Our teacher's step beside mmdet3d's own network, loss and AdamW on the same batch."""
    from mmdet3d.registry import MODELS
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    for name in exam.families:
        learners, setup = exam.cohort(name, ["none"], "fp32")
        inputs = setup.voxelize(next(setup.frames.epoch(0)))
        with DefaultScope.overwrite_default_scope("mmdet3d"):
            theirs = MODELS.build(ConfigDict(setup.family.config(1, setup.grid)))
        theirs.to(exam.device).train()
        optimizer = torch.optim.AdamW(theirs.parameters(), 1e-4)

        def plain(theirs=theirs, inputs=inputs, optimizer=optimizer) -> None:
            losses = theirs.loss(inputs.tensors(), inputs.samples())
            sum(sum(v) if isinstance(v, list) else v for v in losses.values()).backward()
            optimizer.step()
            optimizer.zero_grad()

        def ours(learner=learners[0], inputs=inputs) -> None:
            learner.begin_epoch(0)
            learner.step(_unsearched(inputs), None)

        frames = setup.frames.batch_size
        seconds = {"ours": _seconds(ours, exam), "mmdet3d's": _seconds(plain, exam)}
        yield {
            "teacher": name,
            **{f"{who} (frames/s)": frames / spent for who, spent in seconds.items()},
            "ours / mmdet3d's": seconds["mmdet3d's"] / seconds["ours"],
        }


def feeding(exam: Examination) -> Rows:
    """Frames per second of teachers and of cohorts, and how busy the card is, by workers."""
    for family in exam.families:
        for workers in exam.workers:
            for name, methods in ((family, 1), (STUDENTS[family], exam.cells)):
                learners, setup = exam.cohort(name, METHODS_OF_A_COHORT[:methods])
                frames = replace(setup.frames, workers=workers)
                wall = _train(learners, replace(setup, frames=frames), exam)
                busy = exam.steps * _busy(learners, setup, exam.device)
                yield {
                    "network": name,
                    "cells": len(learners),
                    "workers": workers,
                    "frames/s": frames.batch_size * exam.steps / wall,
                    "card busy (%)": 100 * busy / wall,
                }


def sharing(exam: Examination) -> Rows:
    """Frames per second of all processes that train a student on one card."""
    for family in exam.families:
        for count in exam.processes:
            results = CONTEXT.SimpleQueue()
            children = [
                CONTEXT.Process(target=_train_alone, args=(exam, STUDENTS[family], results))
                for _ in range(count)
            ]
            for child in children:
                child.start()
            for child in children:
                child.join()
            rates = [results.get() for child in children if not child.exitcode]
            yield {
                "student": STUDENTS[family],
                "processes": count,
                "ended well": len(rates),
                "frames/s of all": sum(rates),
            }


def _train_alone(exam: Examination, student: str, results: Any) -> None:
    """A process beside others."""
    torch.set_num_threads(1)
    learners, setup = exam.cohort(student, ["none", "fitnet"])
    wall = _train(learners, setup, exam)
    results.put(setup.frames.batch_size * exam.steps / wall)


def lockstep(exam: Examination) -> Rows:
    """Cells of a cohort together and one by one."""
    for family in exam.families:
        methods = METHODS_OF_A_COHORT[: exam.cells]
        learners, setup = exam.cohort(STUDENTS[family], methods)
        together = time_steps(learners, setup, exam.steps).wall
        alone = sum(
            time_steps(*exam.cohort(STUDENTS[family], [method]), exam.steps).wall
            for method in methods
        )
        yield {
            "student": STUDENTS[family],
            "cells": len(learners),
            "together (s)": together,
            "one by one (s)": alone,
            "ratio": alone / together,
        }


def evaluation(exam: Examination) -> Rows:
    """Detection frame by frame with as many candidates as the network can have."""
    for family in exam.families:
        for name in (family, STUDENTS[family]):
            (learner,), setup = exam.cohort(name, ["none"])
            model = learner.model.eval()
            for head in (m for m in model.modules() if hasattr(m, "conv_cls")):
                torch.nn.init.zeros_(head.conv_cls.bias)  # every anchor is a candidate
            voxelize = setup.family.voxelizer(setup.grid, training=False)
            dataset = KittiDataset(setup.frames.dataset.root, "val")
            frames = [dataset.frame(i) for i in dataset.ids[: exam.frames]]
            batches = [evaluation_batch(frame, setup.grid, exam.device) for frame in frames]
            inputs = [voxelize(batch) for batch in batches]
            spent = {
                "voxels": _seconds(lambda b=batches, v=voxelize: list(map(v, b)), exam),
                "forward": _seconds(
                    lambda m=model, i=inputs, f=setup.family: _each(f.observe, m, i), exam
                ),
                "all": _seconds(
                    lambda m=model, i=inputs, f=setup.family: _each(f.predict, m, i), exam
                ),
            }
            yield {
                "network": name,
                "voxels (ms)": 1e3 * spent["voxels"] / len(frames),
                "forward (ms)": 1e3 * spent["forward"] / len(frames),
                "rest: decoding, suppression, second stage (ms)": 1e3
                * (spent["all"] - spent["forward"])
                / len(frames),
                "frames/s": len(frames) / (spent["voxels"] + spent["all"]),
            }


@torch.no_grad()
def _each(run: Callable[..., Any], model: Any, inputs: Sequence[Any]) -> None:
    for one in inputs:
        run(model, _unsearched(one))


def _unsearched(inputs: Inputs) -> Inputs:
    """The same inputs, in which no network has searched yet."""
    return replace(inputs, searches=Searches())


def point_distiller(exam: Examination) -> Rows:
    """PointDistiller's loss against its formula written out, edge by edge."""
    import test_point_distiller_speed as formula

    if exam.device.type == "cpu":  # a twelfth, for a glimpse
        formula.PILLARS, formula.GRAPHS = 1_000, 500
    for variant in formula.TEMPERATURES:
        with torch.device(exam.device):
            one = formula.example(variant)
            one.method.to(exam.device)
            graphs = formula.plain_search(one)
            row: dict[str, Any] = {"variant": variant}
            for name, work in {
                "ours": lambda one=one: formula.factored(one),
                "written out": lambda o=one, v=variant, g=graphs: formula.written_out(o, v, g),
            }.items():
                _forget_peak(exam.device)
                row[f"{name} (ms)"] = 1e3 * _seconds(work, exam)
                row[f"{name} (MB)"] = _peak(exam.device)
        yield row


def repetition(exam: Examination) -> Rows:
    """Whether two runs of the same cells end in the same bits."""
    for family in exam.families:
        for precision in exam.precisions:
            ends = []
            for _ in range(2):
                learners, setup = exam.cohort(STUDENTS[family], ["none", "fitnet"], precision)
                _train(learners, setup, exam)
                ends.append([(one.latest_loss, state_hash(one.model)) for one in learners])
            yield {
                "student": STUDENTS[family],
                "precision": precision,
                "same bits": ends[0] == ends[1],
                "loss of the first": ends[0][0][0],
                "of the second": ends[1][0][0],
            }


PARTS: dict[str, Callable[[Examination], Rows]] = {
    "The card": card,
    "Operators against the CPU": operators,
    "Training steps": steps,
    "Beside plain mmdet3d": plain_mmdet3d,
    "Repetition": repetition,
    "Feeding the card": feeding,
    "Evaluation": evaluation,
    "PointDistiller's loss": point_distiller,
    "Processes on one card": sharing,
    "Cohorts in lockstep": lockstep,
}


def _train(learners: list[Learner], setup: TrainingSetup, exam: Examination) -> float:
    """Seconds of the timed steps, after one to warm up."""
    begun = 0.0
    taken = 0

    def watch(*_: Any) -> None:
        nonlocal begun, taken
        taken += 1
        if taken == 1:
            _wait(exam.device)
            begun = time.perf_counter()
        if taken > exam.steps:
            raise Enough

    with suppress(Enough):
        train(learners, setup, watch)
    _wait(exam.device)
    wall = time.perf_counter() - begun
    assert all(one.status in ("running", "skipped") for one in learners), [
        one.reason for one in learners
    ]
    return wall


def _busy(learners: list[Learner], setup: TrainingSetup, device: torch.device) -> float:
    """Seconds in which the device works in a step; without a card, the process in its own.

    Read from the profiler's own list: to sum it up in Python takes minutes for ten cells.
    """
    batch = next(setup.frames.epoch(0))
    running = [one for one in learners if one.running]
    needs = set().union(*(one.needs for one in running))
    activities = [ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]

    def step() -> None:
        shared = SharedBatch(setup, batch, needs, Clock(device))
        for one in running:
            one.step(shared.inputs, shared.teacher)
        _wait(device)

    step()
    begun = time.process_time()
    with profile(activities=activities) as kernels:
        step()
    if device.type != "cuda":
        return time.process_time() - begun
    events = kernels.profiler.kineto_results.events()
    return sum(e.duration_ns() for e in events if e.device_type() == DeviceType.CUDA) / 1e9


def _seconds(work: Callable[[], Any], exam: Examination) -> float:
    """Least of several calls, the device's queue included, after one to warm up."""

    def finished() -> None:
        work()
        _wait(exam.device)

    finished()
    return least_seconds(finished, exam.steps)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> float | None:
    """Megabytes, None without a card."""
    return torch.cuda.max_memory_allocated(device) / MEGA if device.type == "cuda" else None


assert STUDENTS.keys() <= FAMILIES.keys()

if __name__ == "__main__":
    sys.exit(main())
