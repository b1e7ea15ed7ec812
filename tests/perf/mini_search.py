"""The search behind the profile mini: variants of it, on a world that the study does not use.

    python tests/perf/mini_search.py FAMILY@RATIO RESULTS [VARIANT ...]

Trains teacher and ``none`` (three seeds) under each variant and prints how far they are apart
(separation.py). What is finished is not run again.
"""

import subprocess
import sys
from pathlib import Path

import separation
import yaml

MINI = Path("benchmark/config/profiles/mini.yaml")
WORLD = 0
"""Seed of the built-in synthetic frames; mini itself has another."""
SEEDS = "0,1,2"
STEPS = ["flip", "rotate", "scale", "points_range_filter", "object_range_filter"]
VARIANTS = {
    "nothing-pasted": {"epochs": 6, "learning_rate": 0.0004, "augmentation": STEPS},
    "three-epochs": {"epochs": 3, "learning_rate": 0.0004},
    "six-epochs": {"epochs": 6, "learning_rate": 0.0004},
    "three-epochs-half-rate": {"epochs": 3, "learning_rate": 0.0002},
    "six-epochs-half-rate": {"epochs": 6, "learning_rate": 0.0002},
}
"""What is set for all families; the rest is mini's."""


def profile(changes):
    """Mini in another world and with another schedule."""
    settings = yaml.safe_load(MINI.read_text())
    settings["synthetic"]["seed"] = WORLD
    for family in settings["families"].values():
        family.update(changes)
    return settings


def main(student, results, names):
    for name in names or VARIANTS:
        folder = results / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(profile(VARIANTS[name])))
        command = [sys.executable, "run_bench.py", "run", "--profile", str(path), "--results",
                   str(folder), "--students", student, "--methods", "none",
                   "--seeds", SEEDS]  # fmt: skip
        subprocess.run(command, check=True)
    separation.main([results / name for name in names or VARIANTS])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
