"""What the files of a leaderboard hold."""

import csv
import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmark.files import FolderError
from benchmark.leaderboard import make_tables, to_csv, to_latex, write
from benchmark.records.store import publish
from run_bench import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def page(tmp_path):
    """The text of leaderboard.md."""

    def make(records):
        write(tmp_path, records)
        return (tmp_path / "leaderboard.md").read_text()

    return make


def line(text, *words):
    return next(found for found in text.splitlines() if all(word in found for word in words))


def section(text, heading):
    return text.partition(f"### {heading}")[2].partition("\n##")[0]


def test_the_headline_comes_first_and_alone_on_a_terminal(record, tmp_path):
    shown = write(tmp_path, [record(), record("fitnet", mean=51)])
    text = (tmp_path / "leaderboard.md").read_text()
    assert text.startswith(shown.partition("\n\nDetails")[0])
    assert "## Details" not in shown
    fitnet = line(shown, "| fitnet")
    for words in ("51.00", "+1.00", "no interval: one seed", "1 [1–2]", "1.217", "8.91", "7.0"):
        assert words in fitnet
    assert "Fewer than 5 seeds" in shown


def test_who_may_only_read_sees_the_tables(tmp_path, record, monkeypatch, capsys):
    publish(tmp_path, record())

    def refuse(path, content):
        raise FolderError(f"{path} cannot be written")

    monkeypatch.setattr("benchmark.leaderboard.write_atomically", refuse)
    assert main(["leaderboard", "--results", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert "50.00" in line(told.out, "| none")
    assert "leaderboard.md cannot be written" in told.err


def test_captions_say_which_frames_figures_are_of(page, record):
    plain = record()
    assert "KITTI's own" not in page([plain])
    plain["dataset"] |= {"shared_frames": 7, "genuine": True}
    text = page([plain])
    assert "all KITTI's own" in line(text, "fingerprint")
    assert "7 validation frames are training frames too" in line(text, "fingerprint")


def test_the_legend_says_why_intervals_are_equally_wide(page, record):
    legend = page([record()]).partition("## Table 1")[0]
    assert "pooled over a student's methods" in legend
    assert "docs/protocol.md" in legend


def test_cells_that_did_not_finish_are_listed_with_their_reason(page, record):
    failed = record("fitnet", status="failed", reason="IndexError: a | b <script> [x](http://y)")
    text = page([record(), record(seed=1), failed])
    listed = section(text, "Cells without a figure")
    assert r"IndexError: a \| b script [x\](http\://y)" in line(listed, "failed")
    assert "no record" in line(listed, "fitnet", "missing")
    assert "<script>" not in text


def test_bounded_figures_are_marked(page, record, ap):
    text = page([record(ap=ap(35.0, objects=15))])
    assert r"35.00\*" in section(text, "3D AP by class and difficulty")
    assert "no mAP: a class has too few valid objects" in line(text, "| none")


def test_extrapolated_values_are_marked(page, record):
    training = {**record()["training"], "extrapolated": True}
    text = page([record(), record("fitnet", training=training)])
    assert "| fitnet † " in text
    assert "| none † " not in text


def test_every_number_leads_to_its_record(page, record):
    text = page([record(seed=s) for s in (0, 1)])
    links = re.findall(r"\[\d\]\(records/([^)]+)\.json\)", section(text, "Records"))
    assert links == ["pointpillars%404-none-0", "pointpillars%404-none-1"]


def test_the_caption_says_what_the_data_are(page, record):
    synthetic = {**record()["dataset"], "name": "the built-in set", "synthetic": True}
    assert "the built-in set (synthetic data" in page([record(dataset=synthetic)])
    text = page([record()])
    assert "KITTI (real frames" in text
    assert "a wiring check" in text


def test_costs_of_training_are_shown(page, record):
    text = section(page([record("fitnet")]), "Costs")
    names, row = (
        [cell.strip() for cell in line(text, which).split("|")[1:-1]]
        for which in ("| student", "fitnet")
    )
    assert dict(zip(names, row, strict=True)).items() >= {
        "params (M)": "1.217", "GFLOPs": "8.91", "GMACs": "8.98", "activations (M)": "35.4",
        "latency (ms)": "7.0 (iqr 0.5)", "peak memory (MB)": "–", "extra training params": "6272",
        "train alone (s)": "100", "train as run (s)": "60", "KD share (%)": "25",
    }.items()  # fmt: skip


@pytest.mark.parametrize(("iqr", "mark"), [(1.75, ""), (1.76, " ‡")])
def test_a_latency_whose_range_is_large_is_marked_as_saying_little(page, record, iqr, mark):
    cost = {**record()["cost"], "latency_ms": {"median": 7.0, "iqr": iqr}}
    text = page([record(cost=cost)])
    assert line(text, "| none").rstrip(" |").endswith(f"7.0 (iqr 1.8){mark}")
    assert f"7.0 (iqr 1.8){mark} |" in section(text, "Costs")
    assert "‡ marks a latency that says little" in text
    assert "more than 25 % of it" in text


def test_threads_and_load_are_shown_where_a_record_has_them(page, record):
    assert "load |" not in page([record()])
    latency = {"median": 7.0, "iqr": 0.5, "threads": 2, "load": 1.25}
    text = section(page([record(cost={**record()["cost"], "latency_ms": latency})]), "Costs")
    assert "load |" in text
    assert re.search(r"7.0 \(iqr 0.5\) +\| +2 +\| +1.2 ", text)


def test_files_do_not_depend_on_the_order_of_records(record, tmp_path):
    records = [record(m, s, 50 + s) for m in ("none", "fitnet", "logit_kd") for s in (0, 1)]
    write(tmp_path, records)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == [f"leaderboard.{kind}" for kind in ("csv", "json", "md", "tex")]
    random.Random(0).shuffle(records)
    write(tmp_path, records)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_csv_keeps_full_precision_and_names_the_cells(record):
    table = pd.read_csv(io.StringIO(to_csv(make_tables([record(mean=100 / 3)]))))
    assert table["3D mAP"][0] == 100 / 3
    assert table["cells"][0] == "0:pointpillars@4-none-0"
    assert table["profile"][0] == "smoke"


def test_json_has_null_where_there_is_no_figure(record, tmp_path):
    write(tmp_path, [record(), record("fitnet", status="failed", reason="why")])
    (table,) = json.loads((tmp_path / "leaderboard.json").read_text())["tables"]
    none, fitnet = table["rows"]
    assert none["3D mAP"] == 50
    assert fitnet["3D mAP"] is None
    assert table["cells"][1]["reason"] == "why"


def test_latex_escapes_names(record):
    text = to_latex(make_tables([record(), record("logit_kd")]))
    assert r"logit\_kd" in text
    assert text.count(r"\toprule") == 1
    assert r"\caption{pointpillars on KITTI (real frames" in text


ODD = "dä $x_1 & 日本 ~^{}%#"


def test_a_shell_without_utf8_gets_the_same_files(record, tmp_path):
    plain = record()
    plain["dataset"]["name"] = ODD
    folder = tmp_path / "results"
    publish(folder, plain)
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"}
    environment.pop("PYTHONIOENCODING", None)
    command = [sys.executable, str(ROOT / "run_bench.py"), "leaderboard", "--results", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert r"on d\xe4 $x_1 & \u65e5\u672c ~^{}%#" in done.stdout.decode("ascii")
    written = {path.name: path.read_bytes() for path in folder.glob("leaderboard.*")}
    write(folder, [plain])
    assert written == {path.name: path.read_bytes() for path in folder.glob("leaderboard.*")}
    escaped = r"on dä \$x\_1 \& 日本 \textasciitilde{}\^{}\{\}\%\#"
    assert escaped in written["leaderboard.tex"].decode()


def test_no_records_give_an_empty_page(page):
    assert make_tables([]) == []
    assert list(csv.reader(io.StringIO(to_csv([])))) == []


def test_rows_of_several_commits_are_told(page, record):
    made = record()["provenance"]
    other = {**made, "commit": "d" * 40, "clean": False}
    text = page([record(), record("fitnet", provenance=other)])
    assert "Rows come from 2 commits: cccccccccccc, dddddddddddd+." in text
    assert "Rows come from" not in page([record(), record("fitnet")])


def test_texts_of_strangers_stay_texts(page, record):
    """No formula in a spreadsheet, no empty line in a caption, no link, no command."""
    profile = {"name": "p", "purpose": "good\n\nbad", "reduced": False, "recipe": {}}
    name = "=HYPERLINK(1) https://evil.org www.evil.org \u202e\x1b[2J"
    dataset = {**record()["dataset"], "name": name}
    records = [record(dataset=dataset, profile=profile)]
    tables = make_tables(records)
    (row,) = csv.DictReader(io.StringIO(to_csv(tables)))
    assert row["dataset"] == "'=HYPERLINK(1) https://evil.org www.evil.org [2J"
    assert float(row["3D mAP"]) == 50
    caption = to_latex(tables).partition("\\caption{")[2].partition("\\begin")[0]
    assert "profile p: good bad" in caption
    assert "\n\n" not in caption
    text = page(records)
    assert r"https\://evil.org www\.evil.org" in text
    assert not set(text) & {"\u202e", "\x1b"}
