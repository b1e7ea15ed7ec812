"""Commands that need no network answer at once.

Asserted are multiples of `python -c "import numpy, pandas"`;
`pytest tests/perf/test_commands.py -s` prints the seconds.
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MINI = ["--results", "results/contributed/mini"]
ROUNDS = 3
MOST = 3.0


def seconds(*words):
    """The fastest of several runs of a command."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture(scope="module")
def unit():
    return seconds("-c", "import numpy, pandas")


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["list", "methods"],
        ["list", "detectors"],
        ["status", *MINI],
        ["leaderboard", *MINI],
        ["show", "CELL", *MINI],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_command_takes_no_more_than_a_few_imports(command, unit):
    cell = sorted((ROOT / MINI[1] / "records").iterdir())[0].stem
    taken = seconds("run_bench.py", *(cell if word == "CELL" else word for word in command))
    print(f"{' '.join(command):60} {taken:.2f} s, {taken / unit:.1f} times numpy and pandas")
    assert taken < MOST * unit
