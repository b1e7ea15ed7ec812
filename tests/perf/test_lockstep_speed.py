"""Time of ten cells in lockstep against one by one, on the smoke grid with a full-width teacher.

In float32, on one thread; bfloat16 makes the shared teacher cheaper and so the ratio smaller. Only
ratios are asserted; `pytest tests/perf/test_lockstep_speed.py -s` prints the seconds. That the
results are the same either way is tested in tests/benchmark/training/test_lockstep.py.
"""

import pytest
from stepping import METHODS_OF_A_COHORT, make_cohort, time_steps


@pytest.mark.parametrize(("student", "goal"), [("pointpillars@4", 1.5), ("pointpillars@16", 1.9)])
def test_ten_cells_in_lockstep_against_one_by_one(student, goal, tmp_path):
    cells, setup = make_cohort(tmp_path, student, METHODS_OF_A_COHORT, precision="fp32")
    together = time_steps(cells, setup)
    alone = [time_steps([cell], setup) for cell in cells]
    apart = sum(steps.wall for steps in alone)
    methods = [sum(s.cells[0]["method"] for s in alone), sum(c["method"] for c in together.cells)]
    print(
        f"\n{student}, {len(cells)} cells, seconds per step: {apart:.2f} one by one, "
        f"{together.wall:.2f} in lockstep, ratio {apart / together.wall:.2f}; of it in methods' "
        f"losses {methods[0]:.2f} and {methods[1]:.2f}"
    )
    assert apart / together.wall > goal
