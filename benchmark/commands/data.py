"""``data``: describe, check, complete, prepare, compare or generate data."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.commands.common import BAD_INPUT, DONE, add_cache, add_command, new_file

if TYPE_CHECKING:
    from benchmark.data.dataset import Dataset
    from benchmark.data.statistics import Summary


def add(commands: Any) -> None:
    """The commands and their options."""
    told = "describe, check, complete, prepare, compare or generate data"
    data = commands.add_parser("data", help=told)
    names = "describe|verify|image-boxes|prepare|compare|synthesize"
    kinds = data.add_subparsers(required=True, metavar=names)
    told = "write a first dataset.yaml from what a folder holds"
    examples = ["/data/mine", "../lidar  # points/, labels/ and ImageSets/", "/data/kitti-like"]
    describe = add_command(kinds, "describe", describe_data, told, examples)
    describe.add_argument("data", type=Path, metavar="DIR")
    told = "write it there, naming DIR as its folder, and not into DIR"
    describe.add_argument("--output", type=new_file, metavar="FILE", help=told)
    told = "look at a data set as a whole"
    examples = ["/data/kitti", "/data/mine/dataset.yaml", "/data/kitti --json verified.json"]
    check = add_command(kinds, "verify", verify_data, told, examples)
    check.add_argument("data", type=Path, metavar="DIR")
    check.add_argument("--json", type=new_file, metavar="FILE", help="also write all figures there")
    told = "write labels whose missing 2D boxes are computed from the 3D boxes"
    examples = ["/data/mine labels", "/data/mine /data/mine/training/label_2_boxes", ". out"]
    boxes = add_command(kinds, "image-boxes", fill_boxes, told, examples)
    boxes.add_argument("data", type=Path, metavar="DIR")
    boxes.add_argument("folder", type=Path, metavar="LABELS", help="folder to write them into")
    told = "also where labels have 2D boxes"
    boxes.add_argument("--all", dest="every", action="store_true", help=told)
    told = "collect the objects that training pastes"
    examples = ["/data/kitti", "/data/mine", "/data/kitti --cache /scratch/pointkd"]
    prepare = add_command(kinds, "prepare", prepare_data, told, examples)
    prepare.add_argument("data", type=Path, metavar="DIR")
    add_cache(prepare)
    told = "how alike data sets are, or what one is like"
    examples = [
        "kitti made  # all of KITTI's training split, without having it, beside a folder",
        "/data/kitti made --split val --pictures out",
        "/data/mine --summary mine.json  # to share its statistics, not its frames",
        "mine.json kitti",
    ]
    compare = add_command(kinds, "compare", compare_data, told, examples)
    told = "a folder, a summary (.json), or kitti: all of its training split (a folder: ./kitti)"
    compare.add_argument("data", metavar="DATA", help=told)
    compare.add_argument("other", nargs="?", metavar="OTHER", help="likewise")
    compare.add_argument("--split", default="train", help="of folders (default %(default)s)")
    compare.add_argument("--pictures", type=Path, metavar="FOLDER", help="write pictures there")
    told = "write the statistics of DATA there"
    compare.add_argument("--summary", type=new_file, metavar="FILE", help=told)
    examples = ["made", "made --train 64 --val 32 --seed 1", "around --layout openpcdet"]
    told = "generate a synthetic data set"
    make = add_command(kinds, "synthesize", synthesize_data, told, examples)
    make.add_argument("data", type=Path, metavar="DIR")
    make.add_argument("--seed", type=int, default=0, help="of the world (default %(default)s)")
    make.add_argument("--train", type=int, default=256, help="frames (default %(default)s)")
    make.add_argument("--val", type=int, default=128, help="frames (default %(default)s)")
    make.add_argument("--max-range", type=float, default=50.0, help="metres (default %(default)s)")
    told = "kitti (default), or openpcdet: all around the sensor, without a camera"
    make.add_argument("--layout", choices=("kitti", "openpcdet"), default="kitti", help=told)


def describe_data(options: argparse.Namespace) -> int:
    """Write what a folder means into its ``dataset.yaml``, to be read and corrected."""
    from benchmark.data.describing import describe, refuse_another, write
    from benchmark.data.description import FILE
    from benchmark.evaluation.suspicions import FIRST_LOOK, look
    from benchmark.files import in_shell

    path = options.output or options.data / FILE
    refuse_another(path)
    described, table = describe(options.data)
    if options.output:
        described = replace(described, folder=str(options.data.absolute()))
    write(path, described)
    print(f"{table}\n\nwrote {path}")
    source = options.output or options.data
    for told in look(source, FIRST_LOOK):
        print(f"warning: {told}")
    print(f"read it, then `run_bench.py data verify {in_shell(source)}`")
    return DONE


def verify_data(options: argparse.Namespace) -> int:
    """Read every frame of a data set; count what is there, and tell what looks wrong."""
    from benchmark.evaluation.survey import survey
    from benchmark.evaluation.survey_text import as_json, as_text
    from benchmark.evaluation.suspicions import fatal, warnings
    from benchmark.running.capacity import usable_cores

    begun = time.monotonic()
    found = survey(options.data, jobs=usable_cores(), quiet=False)
    print(as_text(found))
    if options.json:
        options.json.write_text(json.dumps(as_json(found), indent=2) + "\n", encoding="utf-8")
    reason = "" if found.problems else fatal(found)
    told = "not usable" if found.problems or reason else "usable"
    count = len(warnings(found))
    counted = f"{count} warning{'' if count == 1 else 's'}"
    print(f"\n{options.data}: {told}, {counted} ({time.monotonic() - begun:.0f} s)")
    if reason:
        print(reason)
    return BAD_INPUT if found.problems or reason else DONE


def fill_boxes(options: argparse.Namespace) -> int:
    """Write labels with 2D boxes around the projected 3D boxes, where they have none."""
    from benchmark.data.image_boxes import write_image_boxes

    frames, filled = write_image_boxes(options.data, options.folder, options.every)
    print(f"wrote {frames} label files to {options.folder}; {filled} objects got a 2D box")
    return DONE


def synthesize_data(options: argparse.Namespace) -> int:
    """Write a synthetic data set into a folder."""
    from benchmark.data import synthetic

    frames = options.train, options.val, options.max_range
    synthetic.generate(options.data, options.seed, *frames, layout=options.layout)
    print(f"wrote {options.train} + {options.val} synthetic frames to {options.data}")
    return DONE


def prepare_data(options: argparse.Namespace) -> int:
    """Collect the objects that training pastes into other frames."""
    from benchmark.data.objects import load_objects
    from benchmark.data.opening import open_dataset

    dataset = open_dataset(options.data, "train")
    objects = load_objects(dataset, options.cache / "objects")
    classes = enumerate(dataset.description.classes)
    counts = (f"{(objects.labels == i).sum()} {name}" for i, name in classes)
    print(f"{options.data}: ready; {', '.join(counts)} with {len(objects.points)} points")
    return DONE


def compare_data(options: argparse.Namespace) -> int:
    """Print what data sets are like, side by side, and plot it. A folder is read; a summary holds
    the statistics of one, and no frame to draw."""
    from benchmark.data import comparison
    from benchmark.data.statistics import write_summary

    sources = [source for source in (options.data, options.other) if source is not None]
    loaded = [_summary_of(source, options.split) for source in sources]
    summaries = [summary for summary, _ in loaded]
    print(comparison.describe(summaries))
    if options.summary:
        write_summary(options.summary, summaries[0])
        print(f"\nwrote {options.summary}: statistics of {sources[0]}, none of its frames")
    if not options.pictures:
        return DONE
    comparison.draw(summaries, options.pictures / "statistics.png")
    for summary, dataset in loaded:
        if dataset is None:
            print(f"\n{summary.name}: no picture of frames; a summary holds none")
        else:
            comparison.draw_frames(dataset, options.pictures / f"frames-{summary.name}.png")
    return DONE


def _summary_of(source: str, split: str) -> tuple[Summary, Dataset | None]:
    """The statistics of what `compare` was given, and its frames if there are any."""
    from benchmark.data import statistics
    from benchmark.data.opening import open_dataset

    if source == "kitti":
        return statistics.kitti_summary(), None
    if source.endswith(".json"):
        return statistics.read_summary(Path(source)), None
    dataset = open_dataset(Path(source), split)
    name = dataset.root.resolve().name
    return statistics.summarise(name, statistics.measure(dataset)), dataset
