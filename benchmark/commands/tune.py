"""``tune``: choose the settings of methods by equally many trials."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from benchmark.commands.common import DONE, add_command, at_least, new_file, told_of_stop
from benchmark.commands.run import add_execution, add_fields, make_workplace, try_folders

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
    from tabulate import tabulate

    from benchmark.config.request import FIELDS, SYNTHETIC, RequestError, read_request, resolve
    from benchmark.data import synthetic
    from benchmark.data.training_part import split_training
    from benchmark.device import choose_device
    from benchmark.files import in_shell
    from benchmark.running import tuning
    from benchmark.running.cohort import Interrupted
    from benchmark.running.executors import Execution, make_executor
    from benchmark.running.matrix_run import all_cells, describe_work, run_matrix
    from benchmark.running.planning import describe_plan
    from benchmark.signals import stop_on_warnings

    how = Execution(**{field.name: getattr(options, field.name) for field in fields(Execution)})
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
    if options.dry_run:
        slots = len(how.slots(workplace.device))
        print(describe_plan(matrix, workplace, options.shard, slots))
        return DONE
    execute = make_executor(how, workplace)
    stop_on_warnings()
    print(describe_work(matrix, workplace, options.retry, options.shard), flush=True)
    print(how.told(workplace), flush=True)
    try:
        run_matrix(matrix, workplace, execute, options.retry, options.shard)
    except (Interrupted, KeyboardInterrupt) as stop:
        return told_of_stop(stop)
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
        told = f"no trial of {', '.join(blind)} found an object, so none was chosen; train longer"
        print(f"warning: {told}", file=sys.stderr)
    print(f"\nwrote {path}; `run_bench.py run --settings {in_shell(path)}` trains with it")
    return DONE
