"""How the paper's matrix would spread over GPUs, simulated from measured steps.

    python tests/perf/scale.py RESULTS

RESULTS holds finished records of one student per family and every method (``make bench-all``).
The simulated matrix has both of the paper's students of each family, every method and five seeds,
under one fixed teacher per family. What a cell does by itself and what its cohort shares (data,
teacher's pass) come from the records; a step's proportions are those of the machine and grid of
the records, and only they matter: every figure is a share of what the matrix costs one by one.

As the runner does, every GPU takes the next cohort that is free; teachers come first.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from benchmark.records.store import read_all

GPUS = (1, 2, 4, 8, 16, 32, 64)
SIZES = (4, 8, 16, 1000)
"""Most cells of a cohort; the last keeps cohorts whole."""
SEEDS, RATIOS = 5, 2


@dataclass(frozen=True)
class Family:
    """Measured seconds of a family on equal frames.

    Attributes:
        teacher: training of the teacher.
        shared: data and the teacher's passes of one cohort.
        cells: each method by itself.
    """

    teacher: float
    shared: float
    cells: Sequence[float]

    def alone(self) -> list[float]:
        """Every cell trained one by one, each with its own data and teacher's passes."""
        return [self.shared + own for own in self.cells] * RATIOS * SEEDS

    def cohorts(self, size: int) -> list[float]:
        """Every cohort of at most ``size`` cells: its cells and one shared pass."""
        cells = list(self.cells) * RATIOS
        parts = [cells[i : i + size] for i in range(0, len(cells), size)]
        return [self.shared + sum(part) for part in parts] * SEEDS


def read_families(results: Path) -> list[Family]:
    """What the records of a folder say, by family.

    Of a cohort of n cells a record tells own + shared (alone) and own + shared / n (as run).
    """
    groups: dict[str, list[dict]] = defaultdict(list)
    for record in read_all(results):
        if record["status"] == "done":
            groups[record["student"].partition("@")[0]].append(record)
    families = []
    for records in groups.values():
        teachers = [r for r in records if "@" not in r["student"]]
        students = [r["training"] for r in records if "@" in r["student"]]
        cells = len(students)
        most = max(s["seconds_alone"] - s["seconds_as_run"] for s in students)
        shared = most / (1 - 1 / cells)
        own = [s["seconds_as_run"] - shared / cells for s in students]
        families.append(Family(teachers[0]["training"]["seconds_alone"], shared, own))
    return families


def makespan(tasks: Iterable[float], machines: int) -> float:
    """Time until all is done when each machine takes the next task as soon as it is free."""
    free = [0.0] * machines
    for task in tasks:
        heapq.heappush(free, heapq.heappop(free) + task)
    return max(free)


def simulate(families: Sequence[Family], size: int, gpus: int) -> float:
    """Seconds from start to end: teachers, then cohorts."""
    tasks = [task for family in families for task in family.cohorts(size)]
    return makespan([family.teacher for family in families], gpus) + makespan(tasks, gpus)


def describe(families: Sequence[Family]) -> str:
    """The tables of docs/scale.md."""
    singles = [cell for family in families for cell in family.alone()]
    teachers = sum(family.teacher for family in families)
    whole = sum(singles) + teachers
    rows = []
    for gpus in GPUS:
        apart = makespan([f.teacher for f in families], gpus) + makespan(singles, gpus)
        spans = [simulate(families, size, gpus) for size in SIZES]
        best = spans.index(min(spans))
        work = teachers + sum(task for f in families for task in f.cohorts(SIZES[best]))
        rows.append(
            [
                gpus,
                f"{apart / whole:.1%}",
                *(f"{span / whole:.1%}" for span in spans),
                f"{apart / spans[best]:.2f}",
                f"{work / (gpus * spans[best]):.0%}",
            ]
        )
    head = ["GPUs", "one by one", *(f"by {size}" for size in SIZES[:-1]), "whole", "gain", "busy"]
    costs = [
        [
            "whole" if size == SIZES[-1] else f"by {size}",
            sum(len(family.cohorts(size)) for family in families),
            f"{(teachers + sum(t for f in families for t in f.cohorts(size))) / whole:.1%}",
            f"{max(t for f in families for t in f.cohorts(size)) / whole:.2%}",
        ]
        for size in SIZES
    ]
    columns = ["cohorts", "number", "cost", "longest"]
    return "\n\n".join(
        tabulate(table, names, "pipe", disable_numparse=True)
        for table, names in ((rows, head), (costs, columns))
    )


if __name__ == "__main__":
    found = read_families(Path(sys.argv[1]))
    assert all(math.isfinite(family.shared) for family in found)
    print(describe(found))
