"""What the benchmark says of folders as users have them, one line for each command.

    python tests/perf/folders.py FOLDERS [--markdown FILE]

FOLDERS holds folders in KITTI's layout, some with detections in ``results*``. V is ``data verify``,
E ``evaluate`` for each folder of detections, R ``run --dry-run``.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tabulate import tabulate

import run_bench

SHOWN = 2
"""Lines of each command's words."""
WIDTH, NARROW = 230, 130
"""Characters of a line, on the terminal and in Markdown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if anything ended in a traceback."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path)
    parser.add_argument("--only", default="", help="start of the folders' names")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args(arguments)
    rows = [
        [folder.name, letter, code, told]
        for folder in sorted(options.folders.iterdir())
        if (folder / "training").is_dir() and folder.name.startswith(options.only)
        for letter, words in commands(folder)
        for code, told in [call(words, folder)]
    ]
    headers = ["folder", "command", "exit code", "says"]
    print(tabulate(rows, headers))
    if options.markdown:
        short = [[*row[:3], _first(row[3]).replace("|", "\\|")] for row in rows]
        table = tabulate(short, headers, "github", disable_numparse=True)
        options.markdown.write_text(table + "\n", encoding="utf-8")
    return int(any(code == "traceback" for _, _, code, _ in rows))


def commands(folder: Path) -> list[tuple[str, list[str]]]:
    """The commands that are tried on a folder."""
    labels, split = str(folder / "training" / "label_2"), folder / "ImageSets" / "val.txt"
    listed = ["--split", str(split)] if split.is_file() else []
    evaluations = [
        ("E" if found.name == "results" else f"E {found.name}",
         ["evaluate", "--labels", labels, "--detections", str(found), *listed])
        for found in sorted(folder.glob("results*"))
    ]  # fmt: skip
    run = ["run", "--data", str(folder), "--methods", "none", "--dry-run", "--device", "cpu"]
    return [("V", ["data", "verify", str(folder)]), *evaluations, ("R", run)]


def call(words: Sequence[str], folder: Path) -> tuple[int | str, str]:
    """Exit code and words of a command."""
    out, err = io.StringIO(), io.StringIO()
    code: int | str
    with tempfile.TemporaryDirectory() as place, redirect_stdout(out), redirect_stderr(err):
        where = ["--cache", place, "--results", place] if words[0] == "run" else []
        try:
            code = run_bench.main([*words, *where])
        except SystemExit as end:
            code = str(end.code)
        except BaseException:
            code = "traceback"
            traceback.print_exc()
    return code, _short(out.getvalue() + err.getvalue(), folder, code == 0)


def _first(told: str) -> str:
    line = told.partition("\n")[0]
    return line if len(line) <= NARROW else line[:NARROW].rpartition(" ")[0] + " ..."


def _short(text: str, folder: Path, fine: bool) -> str:
    """What is wrong, without the folder's place."""
    lines = [line.replace(f"{folder}/", "").replace(str(folder), folder.name) for line in
             text.replace("\r", "\n").splitlines() if line.strip()]  # fmt: skip
    told = [
        line
        for line in lines
        if line.startswith(("note", "warning", "error", "Traceback", "*"))
        or any(
            word in line
            for word in ("counts:", "are lower than", "not scored:", "ignored.", "no object")
        )
        or (not fine and ": " in line)
    ]
    shown = [line if len(line) <= WIDTH else line[:WIDTH] + " ..." for line in told[:SHOWN]]
    return "\n".join(shown) or "no complaint"


if __name__ == "__main__":
    sys.exit(main())
