"""Teacher and students are timed in turns once they are trained."""

import json

import pytest
from in_process import run_matrix

from benchmark.running.latency import TimingError, time_in_turns
from benchmark.running.matrix_run import all_cells


def without_latency(records):
    """Records in which nothing says how long a frame takes."""
    bare = json.loads(json.dumps(records))
    for record in bare:
        record["cost"]["latency_ms"] = None
    return bare


def test_cells_of_a_student_share_a_latency_and_keep_the_rest(matrix, workplace, capsys):
    request = matrix(["none", "fitnet"])
    before = run_matrix(request, workplace)
    cells = all_cells(request, workplace)
    time_in_turns(cells, workplace)
    assert capsys.readouterr().out == "timing 2 networks in turns\n"
    after = [workplace.record(cell) for cell in cells]
    assert without_latency(after) == without_latency(before)
    teacher, alone, distilled = (record["cost"]["latency_ms"] for record in after)
    assert alone == distilled
    assert 0 < alone["median"] < teacher["median"]
    assert teacher["threads"] == 1
    workplace.folder.checkpoint(cells[1].identity()).unlink()
    workplace.folder.checkpoint(cells[2].identity()).unlink()
    with pytest.raises(TimingError, match=r"left as timed while cells trained: .*\.pth"):
        time_in_turns(cells, workplace)
    assert [workplace.record(cell) for cell in cells] == after
