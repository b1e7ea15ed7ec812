"""Kill `tune` at drawn instants: does it end with the settings of a run that nobody disturbed?

    python tests/perf/tune_kills.py [MATRIX] [--methods none,fitnet] [--trials 4] [--kills 3]
        [--seed 0] [--work DIR]

Both runs begin with an empty cache, train their teacher, and get what else is given. A kill is
SIGKILL to the command and all its processes, somewhere within the time that the undisturbed run
takes; then the same command runs again. Their files of settings must be equal byte for byte, and
their records in status, AP, weights and losses.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
METHODS = "none,point_distiller,fitnet,logit_kd,attention_transfer"


def start(folder, given):
    """The command, with results, cache and settings in a folder, and a process group of its own."""
    places = ["--results", folder / "results", "--cache", folder / "cache"]
    command = [sys.executable, ROOT / "run_bench.py", "tune", *given, *places,
               "--output", folder / "tuned.yaml", "--checkpoint-every", "0.5"]  # fmt: skip
    with (folder / "output.txt").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def finish(process, folder):
    """Wait for its end, which must be a good one."""
    assert process.wait() == 0, (folder / "output.txt").read_text()


def killed(process, seconds):
    """Whether it was still there to be killed after so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def records(folder):
    """What must be equal to the bit, by cell; the teacher's record is among them."""
    found = {}
    for path in (folder / "results" / "records").glob("*.json"):
        record = json.loads(path.read_text())
        found[path.stem] = [record[k] for k in ("status", "ap", "weights_sha256", "losses_sha256")]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("matrix", nargs="?", default="smoke")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--trials", default="4")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keep the two runs there")
    options, others = parser.parse_known_args()
    given = [options.matrix, "--methods", options.methods, "--trials", options.trials, *others]
    work = options.work or Path(tempfile.mkdtemp())
    quiet, disturbed = work / "quiet", work / "disturbed"
    for folder in (quiet, disturbed):
        folder.mkdir(parents=True)
    begun = time.monotonic()
    finish(start(quiet, given), quiet)
    whole = time.monotonic() - begun
    print(f"undisturbed: {len(records(quiet))} records, {whole:.0f} s", flush=True)
    draw = random.Random(options.seed)
    for kill in range(options.kills):
        seconds = draw.uniform(0.1, 1) * whole / options.kills
        assert killed(start(disturbed, given), seconds), "it had ended"
        print(f"kill {kill + 1} after {seconds:.0f} s: {len(records(disturbed))}", flush=True)
    finish(start(disturbed, given), disturbed)
    one, other = ((folder / "tuned.yaml").read_bytes() for folder in (quiet, disturbed))
    assert one == other, f"{quiet / 'tuned.yaml'} and {disturbed / 'tuned.yaml'} differ"
    assert records(quiet) == records(disturbed)
    print(f"{options.kills} kills: equal settings ({len(one)} bytes), equal records")


if __name__ == "__main__":
    main()
