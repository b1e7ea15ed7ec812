"""The built-in summary of all of KITTI's training split, from facts about it.

    python tests/perf/kitti_summary.py FOLDER benchmark/data/kitti_summary.json

FOLDER holds ``label_2_all.tar.xz`` (every label file), ``train_objects.csv.xz`` (points in every
object's box, and its distance), ``all_frames.csv.xz`` (points in view of every frame),
``ImageSets/full/train.txt`` (the standard split) and some of its frames in KITTI's layout, whose
reflectance and pillars stand for the others'. With all of KITTI at hand, ``run_bench.py data
compare /data/kitti --summary FILE`` writes the same from the scans.
"""

import io
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.data.opening import open_dataset
from benchmark.data.statistics import measure, summarise, write_summary

LABELS = ["class", "truncation", "occlusion", "alpha", "left", "top", "right", "bottom", "height",
          "width", "length", "x", "y", "z", "rotation_y"]  # fmt: skip


def read_labels(archive, frames):
    """All objects of some frames; `index` counts those of a frame."""
    found = []
    with tarfile.open(archive) as files:
        for member in files:
            frame = Path(member.name).stem
            if member.isfile() and frame in frames:
                text = files.extractfile(member).read().decode()
                rows = pd.read_csv(io.StringIO(text), sep=" ", names=LABELS)
                found.append(rows.assign(frame=frame, index=np.arange(len(rows))))
    return pd.concat(found)


def tables(folder):
    """What `measure` would find in the scans of the whole split."""
    frames = set((folder / "ImageSets/full/train.txt").read_text().split())
    labels = read_labels(folder / "label_2_all.tar.xz", frames)
    objects = labels[labels["class"] != "DontCare"]
    counts = pd.read_csv(folder / "train_objects.csv.xz", dtype={"frame": str})
    objects = objects.merge(counts[["frame", "index", "points", "distance"]], validate="1:1")
    assert len(objects) == len(counts)
    every = pd.read_csv(folder / "all_frames.csv.xz", dtype={"frame": str})
    points = every.loc[every["frame"].isin(frames), "points_reduced"]
    return replace(
        measure(open_dataset(folder, "train")),
        frame_points=points.to_numpy(),
        ignored=len(labels) - len(objects),
        objects=objects.assign(yaw=-objects["rotation_y"] - np.pi / 2),
    )


if __name__ == "__main__":
    write_summary(Path(sys.argv[2]), summarise("kitti", tables(Path(sys.argv[1]))))
