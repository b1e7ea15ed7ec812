"""``evaluate``: score KITTI result files of any detector."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmark.commands.common import DONE, add_command, add_scored_frames, new_file


def add(commands: Any) -> None:
    """The command and its options."""
    command = add_command(
        commands,
        "evaluate",
        evaluate,
        "score KITTI result files of any detector",
        [
            "--labels kitti/training/label_2 --detections found/ --split kitti/ImageSets/val.txt",
            "--labels label_2 --detections found/ --by-distance --json ap.json",
            "--labels label_2 --detections found/ --curves curves",
            "--labels label_2 --detections found/ --metric distance",
        ],
    )
    add_scored_frames(command)
    add = command.add_argument
    add("--detections", type=Path, required=True, metavar="DIR", help="folder of result files")
    add("--json", type=new_file, metavar="FILE", help="also write all figures to this file")
    told = "kitti (default), or distance: nuScenes' AP by distance of centres, without 2D boxes"
    add("--metric", choices=("kitti", "distance"), default="kitti", help=told)
    add("--loose", action="store_true", help="the looser set of overlaps")
    add("--by-distance", action="store_true", help="also AP at 0-30, 30-50 and over 50 m")
    add("--points", type=Path, metavar="DIR", help="KITTI training folder: also by point count")
    add("--curves", type=new_file, metavar="PREFIX", help="precision-recall curves as CSV and PNG")


def evaluate(options: argparse.Namespace) -> int:
    """Score KITTI result files of any detector."""
    from benchmark.evaluation.command import evaluate_command

    print(
        evaluate_command(
            options.labels,
            options.detections,
            split=options.split,
            json_file=options.json,
            missing_as_empty=options.missing_as_empty,
            loose=options.loose,
            by_distance=options.by_distance,
            points=options.points,
            curves=options.curves,
            metric=options.metric,
        )
    )
    return DONE
