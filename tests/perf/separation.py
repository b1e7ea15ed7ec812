"""Does a schedule tell a teacher from its student? The gap beside the student's own spread.

    python tests/perf/separation.py RESULTS [RESULTS ...]

Prints for each student of each results folder the mAP (R40, Moderate) of its teacher, the mean and
standard deviation (n - 1) over the seeds of ``none``, the gap in such deviations, and the minutes
that each of the two networks took to train.
"""

import statistics
import sys
from pathlib import Path

from tabulate import tabulate

from benchmark.records.store import NONE, read_results

HEADERS = ["results", "student", "kind", "teacher", "none", "spread", "seeds", "gap / spread",
           "minutes: teacher", "none"]  # fmt: skip


def mean_ap(record, kind):
    return record["ap"]["mAP"][kind]["R40"][1]


def minutes(records):
    return statistics.mean(record["training"]["seconds_alone"] for record in records) / 60


def rows(results):
    """A row for each student and kind of AP."""
    done = [record for record in read_results(results) if record["status"] == "done"]
    alone = [record for record in done if record["method"] == NONE]
    for student in dict.fromkeys(record["student"] for record in alone if "@" in record["student"]):
        family = student.partition("@")[0]
        teachers = [record for record in done if record["student"] == family]
        own = [record for record in alone if record["student"] == student]
        for kind in ("bev", "3d"):
            yield row(results.name, student, kind, teachers, own)


def row(name, student, kind, teachers, own):
    teacher = statistics.mean(mean_ap(record, kind) for record in teachers)
    found = [mean_ap(record, kind) for record in own]
    alone = statistics.mean(found)
    spread = statistics.stdev(found) if len(found) > 1 else float("nan")
    return [
        name, student, kind, *(f"{n:.2f}" for n in (teacher, alone, spread)), len(own),
        f"{(teacher - alone) / spread:.1f}", f"{minutes(teachers):.1f}", f"{minutes(own):.1f}",
    ]  # fmt: skip


def main(folders):
    print(
        tabulate(
            [line for folder in folders for line in rows(folder)],
            HEADERS,
            tablefmt="github",
            disable_numparse=True,
        )
    )


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
