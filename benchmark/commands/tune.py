"""``tune``: choose the settings of methods by equally many trials."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.commands.common import DONE, add_command, at_least, new_file
from benchmark.commands.training import (
    add_execution,
    add_fields,
    execution,
    make_workplace,
    train,
    try_folders,
    warn,
)

if TYPE_CHECKING:
    from benchmark.config.matrix import Matrix
    from benchmark.running.tuning import Choice
    from benchmark.running.workplace import Workplace

TRIALS, SEEDS = 8, "0,1"


def add(commands: Any) -> None:
    """The command and its options."""
    told = "choose methods' settings by equally many trials on a part of the training frames"
    examples = [
        "--methods none,fitnet,logit_kd --trials 4",
        "mini --methods none,point_distiller --trials 8 --output tuned.yaml",
        "--data /data/kitti --profile kitti --students second@4 --seeds 0-2",
    ]
    command = add_command(commands, "tune", tune, told, examples)
    told = "of each method, the source's settings among them (default %(default)s)"
    command.add_argument("--trials", type=at_least(2), default=TRIALS, metavar="N", help=told)
    told = "write what was chosen there (default RESULTS/settings.yaml)"
    command.add_argument("--output", type=new_file, metavar="FILE", help=told)
    add_fields(command)
    add_execution(command)


def tune(options: argparse.Namespace) -> int:
    """Run the trials and write the settings that ``run --settings`` trains with."""
    from benchmark.config.request import FIELDS, SYNTHETIC, RequestError, read_request, resolve
    from benchmark.data import synthetic
    from benchmark.data.training_part import split_training
    from benchmark.device import choose_device
    from benchmark.running import tuning

    how = execution(options)
    if options.settings:
        raise RequestError("--settings is for `run`; tune writes such a file, see --output")
    given = {name: getattr(options, name) for name in FIELDS}
    given |= {"seeds": options.seeds or SEEDS, "results": options.results or "results/tune"}
    request = read_request(options.matrix, given)
    try_folders(options, request)
    device = choose_device(options.device)
    whole = Path(request.data)
    if request.data == SYNTHETIC:
        whole = synthetic.ensure(options.cache / "synthetic", **request.profile.synthetic)
    part = split_training(whole, options.cache / "tuning")
    matrix, root = resolve(replace(request, data=str(part)), options.cache, device)
    matrix, tried = tuning.trial_matrix(matrix, options.trials)
    workplace = make_workplace(options, how, request, root, device)
    return train(
        options, how, matrix, workplace, lambda _: _choose(options, matrix, workplace, tried)
    )


def _choose(
    options: argparse.Namespace,
    matrix: Matrix,
    workplace: Workplace,
    tried: Mapping[str, Mapping[str, Sequence[Choice]]],
) -> int:
    """Write and print what the trials say, once all have ended."""
    from tabulate import tabulate

    from benchmark.files import in_shell
    from benchmark.running import tuning
    from benchmark.running.matrix_run import all_cells

    cells = [cell for cell in all_cells(matrix, workplace) if cell.teacher]
    if left := sum(not workplace.finished(cell) for cell in cells):
        print(f"{left} trials of other shards are left; the run that ends last writes the settings")
        return DONE
    records = [workplace.record(cell) for cell in cells]
    found = tuning.outcome(tried, tuning.by_choice(cells, records))
    path = options.output or workplace.results / "settings.yaml"
    tuning.write(path, matrix, options.trials, found)
    rows = list(tuning.told(found))
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    if blind := dict.fromkeys(row["method"] for row in rows if row["best mAP"] <= 0):
        warn(f"no trial of {', '.join(blind)} found an object, so none was chosen; train longer")
    print(f"\nwrote {path}; `run_bench.py run --settings {in_shell(path)}` trains with it")
    return DONE
