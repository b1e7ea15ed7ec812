"""Records as a run would leave them, without a run."""

from benchmark.records.store import FIELDS

VERSIONS = {"pointkd-bench": "0.1.0", "mmdet3d": "1.4.0", "torch": "2.13.0"}
METRICS = ("bbox", "bev", "3d", "aos")


def make_ap(mean, objects=100):
    """All figures of a class equal to ``mean``; no mean below 41 objects."""
    figures = {m: {"R40": [mean] * 3, "R11": [mean] * 3} for m in METRICS}
    one = {**figures, "objects": [objects] * 3}
    bounded = {m: {"R40": [None] * 3, "R11": [None] * 3} for m in figures}
    return {
        "Car": one,
        "Pedestrian": one,
        "Cyclist": one,
        "mAP": figures if objects >= 41 else bounded,
    }


def make_record(
    method="none", seed=0, mean=50.0, student="pointpillars@4", status="done", **changes
):
    done = status == "done"
    teacher = "t" if "@" in student else ""
    values = {
        **dict.fromkeys(FIELDS),
        "cell": f"{student}-{method}-{seed}" if teacher else "t",
        "status": status,
        "reason": "" if done else "a reason",
        "dataset": {
            "name": "KITTI", "synthetic": False, "fingerprint": "f",
            "train_frames": 10, "val_frames": 5,
        },
        "profile": {
            "name": "smoke", "purpose": "a wiring check", "reduced": False, "recipe": {},
        },
        "student": student,
        "method": method,
        "weighting": "source",
        "precision": "fp32",
        "seed": seed,
        "settings": {
            "data": "f", "precision": "fp32", "method": method, "seed": seed,
            "recipe": {}, "grid": {}, "student": student,
            **({"teacher": teacher} if teacher else {}),
        },
        "hyperparameters": {},
        "weights_sha256": f"{student} {method} {seed}" if done else None,
        "ap": make_ap(mean) if done else None,
        "cost": {
            "params": 1_217_352, "flops_paper": 8_910_000_000, "flops_full": 8_980_000_000,
            "activations": 35_400_000, "latency_ms": {"median": 7.0, "iqr": 0.5},
            "peak_memory_mb": None, "peak_memory_of": None, "energy_j": None, "frames": [],
        } if done else None,
        "training": {
            "seconds_alone": 100.0, "seconds_as_run": 60.0, "seconds_method": 25.0,
            "balance": None, "extra_params": 6272, "extrapolated": False, "losses": [],
        } if done else None,
        "provenance": {
            "versions": VERSIONS, "python": "3.11.7", "machine": "a machine", "threads": 1,
            "operators": [],
            "commit": "c" * 40, "clean": True, "ended": "2026-11-27T06:00:00+00:00",
        },
    }  # fmt: skip
    return {**values, **changes}
