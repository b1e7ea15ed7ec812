"""Tables and pictures of data sets side by side, from folders and from summaries."""

import pytest

import run_bench
from benchmark.commands.common import BAD_INPUT, DONE
from benchmark.data import comparison, synthetic
from benchmark.data.kitti import KittiDataset
from benchmark.data.statistics import kitti_summary, measure, read_summary, summarise


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "made"
    synthetic.generate(root, seed=3, train=6, val=1, max_range=40)
    return root


@pytest.fixture(scope="module")
def summary(root):
    return summarise("made", measure(KittiDataset(root, "train")))


def test_tables_have_a_column_for_each_data_set(summary):
    text = comparison.describe([summary, kitti_summary()])
    assert "| made" in text
    cars = summary.objects["Car"]
    assert f"| Car            | {cars.per_frame:.2f}; " in text
    assert f"{cars.bands[1].count})" in text
    assert "| 151, 454, 1009 (2990) |" in text


def test_headings_are_told_by_the_yaw(summary):
    """Cars stand along the road more often than across it."""
    along, across = comparison._describe_headings(kitti_summary())["Car"].split(", ")
    assert float(along[:-1]) == pytest.approx(72, abs=1)
    assert float(across[:-1]) == pytest.approx(13, abs=1)


def test_a_folder_a_summary_and_kitti_are_compared(root, summary, tmp_path, capsys):
    file = tmp_path / "made.json"
    assert run_bench.main(["data", "compare", str(root), "--summary", str(file)]) == DONE
    assert f"wrote {file}" in capsys.readouterr().out
    assert read_summary(file) == summary
    command = ["data", "compare", "kitti", str(file), "--pictures", str(tmp_path)]
    assert run_bench.main(command) == DONE
    told = capsys.readouterr().out
    assert comparison.describe([kitti_summary(), summary]) in told
    assert "made: no picture of frames; a summary holds none" in told
    assert {path.name for path in tmp_path.iterdir()} == {"made.json", "statistics.png"}


def test_pictures_are_written(root, tmp_path, capsys):
    command = ["data", "compare", str(root), "kitti", "--pictures", str(tmp_path / "new")]
    assert run_bench.main(command) == DONE
    assert "kitti: no picture of frames" in capsys.readouterr().out
    for name in ("statistics.png", "frames-made.png"):
        path = tmp_path / "new" / name
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000


def test_a_missing_summary_is_told(tmp_path, capsys):
    assert run_bench.main(["data", "compare", "kitti", str(tmp_path / "no.json")]) == BAD_INPUT
    captured = capsys.readouterr()
    assert "no.json: no such summary" in captured.out + captured.err
