"""What each method adds to its student's own training step, forward and backward.

The step of the student alone is the measure: detector losses, backward, clipping, optimiser. The
shared passes (data, teacher) are left out. ``pytest tests/perf/test_methods.py -s`` prints the
table; asserted are ratios.
"""

import pytest
from stepping import make_cohort, time_steps
from tabulate import tabulate

from benchmark.config.request import every_method
from benchmark.records.store import NONE

GRIDS = [
    ("pointpillars@4", "smoke", {}, 10),
    ("second@4", "smoke", {}, 10),
    ("pointrcnn@8", "smoke", {}, 10),
    ("pointpillars@4", "kitti", {"batch_size": 1, "micro_batch_size": 1, "augmentation": ()}, 3),
]
"""Student, profile, changes of its recipe, timed steps."""

GOAL = 0.25
COSTLY = {
    "crosskd",
    "cwd",
    "fbkd",
    "fg",
    "fgd",
    "gid_feature",
    "itkd",
    "lgsd",
    "mgd",
    "mimic",
    "pkd",
    "point_distiller",
    "point_distiller:variant=released",
    "rdd",
    "reviewkd",
    "sparsekd_label",
}
"""Methods that cost more on some grid; docs/performance.md says why."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("student", "profile", "recipe", "steps"), GRIDS)
def test_a_method_costs_less_than_a_quarter_of_its_students_step(
    student, profile, recipe, steps, tmp_path
):
    cells, setup = make_cohort(tmp_path, student, every_method(), profile, **recipe)
    none = next(cell for cell in cells if cell.method == NONE)
    timed = time_steps([none, *cells], setup, steps)  # the first makes what all share
    times = zip(cells, timed.cells[1:], strict=True)
    own = {cell.method: spent["own"] for cell, spent in times if spent["own"]}
    added = {name: seconds / own[NONE] - 1 for name, seconds in own.items()}
    rows = [[name, own[name], share] for name, share in sorted(added.items(), key=lambda x: x[1])]
    print(f"\n{student}, {profile} grid, {cells[0].precision}")
    print(f"the teacher's pass {timed.cells[0]['teacher']:.3f} s")
    print(tabulate(rows, ["method", "step (s)", "added"], floatfmt=("", ".3f", "+.0%")))
    assert {name for name, share in added.items() if share > GOAL} <= COSTLY
