"""The search behind the profile mini: variants of it, on a world that the study does not use.

    python tests/perf/mini_search.py FAMILY@RATIO RESULTS [VARIANT ...]

Trains teacher and ``none`` (three seeds) under each variant and prints how far they are apart
(separation.py). What is finished is not run again. All variants are scored on the same frames.
"""

import subprocess
import sys
from pathlib import Path

import separation
import yaml

MINI = Path("benchmark/profiles/mini.yaml")
WORLD = {"train": 1024, "val": 512, "max_range": 26.0, "seed": 0}
SEEDS = "0,1,2"
STEPS = ["flip", "rotate", "scale", "crop_points", "crop_objects"]
VARIANTS = {
    "nothing-pasted": (1024, {"epochs": 6, "augmentation": STEPS}),
    "few-frames": (256, {"epochs": 12}),
    "three-epochs": (1024, {"epochs": 3}),
    "six-epochs": (1024, {"epochs": 6}),
}
"""Training frames, and what differs from mini's schedule for all families."""


def profile(frames, changes):
    """Mini with other frames and another schedule."""
    settings = yaml.safe_load(MINI.read_text())
    settings["synthetic"] = WORLD
    settings["max_frames"] = {"train": frames, "val": WORLD["val"]}
    for family in settings["families"].values():
        family.update(changes)
    return settings


def main(student, results, names):
    for name in names or VARIANTS:
        folder = results / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(profile(*VARIANTS[name])))
        command = [sys.executable, "run_bench.py", "run", "--profile", str(path), "--results",
                   str(folder), "--students", student, "--methods", "none",
                   "--seeds", SEEDS]  # fmt: skip
        subprocess.run(command, check=True)
    separation.main([results / name for name in names or VARIANTS])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
