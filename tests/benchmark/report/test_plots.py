"""The plots for papers: each mark at its own cost, and a caption that explains them."""

import re

import pytest
from made_records import make_record
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchmark.report import plots
from benchmark.report.page import make_content

COST = "latency (ms)"


def record(method, median=7.0, iqr=0.5, student="pointpillars@4", mean=50.0, seed=0):
    found = make_record(method, seed, mean, student=student)
    found["cell"] = f"{student}-{method}-{seed}"
    found["cost"] = {**found["cost"], "latency_ms": {"median": median, "iqr": iqr}}
    return found


@pytest.fixture
def content(tmp_path):
    """Three methods of one student, and a teacher whose latency says little."""
    found = [record(method, mean=50 + i) for i, method in enumerate(("none", "fitnet", "crd"))]
    teacher = record("none", 72.3, 38.1, "pointpillars", 60.0)
    return make_content(tmp_path, [*found, {**teacher, "cell": "t"}])


@pytest.fixture
def axes(content):
    """The plot of latency."""
    (section,) = content["sections"]
    drawn = Figure(figsize=(plots.WIDTH, plots.HEIGHT)).add_axes((0, 0, 1, 1))
    plots.pareto(drawn, section["rows"], [], COST, "3D", content["methods"])
    return drawn


def test_things_move_only_as_far_as_they_must():
    assert plots.spread([0, 10, 30], [4, 4, 4]) == [0, 10, 30]
    assert plots.spread([5, 5, 5], [2, 2, 2]) == [3, 5, 7]
    assert plots.spread([0, 1], [4, 2]) == [-1, 2]
    assert plots.spread([0, 0, 2.5], [2, 2, 2]) == pytest.approx(
        [-1.1667, 0.8333, 2.8333], abs=1e-4
    )


def test_marks_are_drawn_at_the_cost_that_was_measured(axes):
    drawn = {container.get_label(): container.lines[0] for container in axes.containers}
    costs = {name: line.get_xdata()[0] for name, line in drawn.items()}
    assert costs == {"none": 7.0, "fitnet": 7.0, "crd": 7.0, "teacher": 72.3}
    shown = {name: line.get_transform().transform(line.get_xydata()[0])[0]
             for name, line in drawn.items()}  # fmt: skip
    order = [shown[name] for name in ("crd", "fitnet", "none")]
    step = plots.STEP * axes.figure.dpi / 72
    assert order[1] - order[0] == pytest.approx(step)
    assert order[2] - order[1] == pytest.approx(step)
    assert order[1] == pytest.approx(axes.transData.transform((7.0, 50))[0])


def test_a_line_leads_from_each_moved_mark_to_its_cost(axes):
    lines = [text for text in axes.texts if not text.get_text()]
    assert sorted(line.xy for line in lines) == [(7.0, 50.0), (7.0, 52.0)]


def test_bars_are_interquartile_ranges_and_names_stand_above_all_bars(axes):
    bars = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    assert [list(bar) for bar in bars] == [[6.75, 7.25], pytest.approx([53.25, 91.35])]
    axes.figure.draw_without_rendering()
    names = [text for text in axes.texts if text.get_text()]
    assert [name.get_text() for name in names] == ["pointpillars@4", "pointpillars ‡"]
    assert min(Text.get_window_extent(name).y0 for name in names) > axes.get_window_extent().y1
    apart = sorted(Text.get_window_extent(name).intervalx.tolist() for name in names)
    assert apart[0][1] < apart[1][0]


def test_the_caption_says_what_marks_bars_and_lines_mean(content, tmp_path):
    plots.write(tmp_path, content)
    said = {
        path.name: " ".join(re.findall(r">([^<>]+)</text>", path.read_text()))
        for path in tmp_path.glob("*3d*.svg")
    }
    assert all(plots.MARKS.replace("'", "&#x27;") in text or plots.MARKS in text
               for text in said.values())  # fmt: skip
    assert {name for name, text in said.items() if "interquartile" in text} == {
        "1-pointpillars-3d-latency.svg"
    }


def test_a_method_has_one_colour_in_all_tables(tmp_path):
    found = [record(method) for method in ("none", "crd", "fitnet")]
    other = [record(method, student="second@4") for method in ("none", "fitnet")]
    content = make_content(tmp_path, [*found, *other])
    assert content["methods"] == ["crd", "fitnet"]
    colours = {
        plots._mark(row, content["methods"])["color"]
        for section in content["sections"]
        for row in section["rows"]
        if row["method"] == "fitnet"
    }
    assert colours == {"C1"}
