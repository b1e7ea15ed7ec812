"""The examination of a graphics card, which can go wrong in minutes that somebody lends."""

import json
import sys
from pathlib import Path

import pytest


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "perf"))
    import gpu

    yield gpu
    sys.path[:] = [place for place in sys.path if not place.endswith("/operators")]


@pytest.mark.timeout(180)
def test_every_part_has_a_table_on_the_cpu(gpu, tmp_path, capsys):
    file = tmp_path / "gpu.json"
    assert gpu.main(["--tiny", "--families", "pointpillars", "--json", str(file)]) == 0
    printed, found = capsys.readouterr().out, json.loads(file.read_text())
    assert list(found) == list(gpu.PARTS)
    for name, rows in found.items():
        assert f"## {name}\n" in printed
        assert rows
    assert {row["ended well"] for row in found["Processes on one card"]} == {1, 2}
    assert all(row["largest difference"] == 0 for row in found["Operators against the CPU"])
    assert all(row["same bits"] for row in found["Repetition"])


def test_a_part_that_fails_leaves_the_others(gpu, tmp_path, monkeypatch, capsys):
    def broken(exam):
        raise RuntimeError("no such card")

    monkeypatch.setattr(gpu, "PARTS", {"broken": broken, "The card": gpu.card})
    assert gpu.main(["--tiny"]) == 1
    told = capsys.readouterr()
    assert "RuntimeError: no such card" in told.err
    assert "machine" in told.out.partition("## The card")[2]
