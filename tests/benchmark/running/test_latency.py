"""Teacher and students are timed in turns once they are trained."""

import json
from dataclasses import replace

import pytest
from in_process import run_matrix

from benchmark.files.locks import Lock
from benchmark.records import store
from benchmark.running.latency import TimingError, time_in_turns
from benchmark.running.matrix_run import all_cells
from kd_methods import load_plugin


def without_latency(records):
    """Records in which nothing says how long a frame takes."""
    bare = json.loads(json.dumps(list(records)))
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
    assert teacher["in_turns"] is alone["in_turns"] is True
    time_in_turns(cells, workplace)
    assert capsys.readouterr().out == ""  # they have been timed
    store.replace_latency(workplace.results, cells[1].identity(), {"median": 1.0, "iqr": 0.1})
    workplace.folder.checkpoint(cells[1].identity()).unlink()
    workplace.folder.checkpoint(cells[2].identity()).unlink()
    with pytest.raises(TimingError, match=r"left as timed while cells trained: .*\.pth"):
        time_in_turns(cells, workplace)
    assert without_latency(map(workplace.record, cells)) == without_latency(before)


def test_another_run_that_times_is_not_waited_for_for_ever(workplace):
    told = "left as .*: another run has timed for 0.1 s"
    with Lock(workplace.folder.lock("timing")), pytest.raises(TimingError, match=told):
        time_in_turns([], replace(workplace, patience=0.1))
    time_in_turns([], workplace)


PLUGIN = """
from kd_methods import KDMethod, register

@register("timed_plugin", paper="a test", year=2026)
class Timed(KDMethod):
    \"\"\"Adds nothing.\"\"\"

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        return {"zero": 0 * student.neck.values.sum()}
"""


def test_students_of_a_plugin_alone_are_timed(matrix, workplace, tmp_path):
    plugin = tmp_path / "timed_plugin.py"
    plugin.write_text(PLUGIN)
    load_plugin(plugin)
    workplace = replace(workplace, plugins=(plugin,))
    request = matrix(["timed_plugin"])
    run_matrix(request, workplace)
    cells = all_cells(request, workplace)
    time_in_turns(cells, workplace)
    assert all(workplace.record(cell)["cost"]["latency_ms"]["in_turns"] for cell in cells)
