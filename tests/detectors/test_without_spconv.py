"""What has no sparse convolution runs where spconv has no wheel."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys

sys.modules["spconv"] = None  # as if it were not installed

import torch
from frames import GRIDS, batch

from benchmark import doctor
from benchmark.config.request import RequestError, read_request
from detectors import DetectorError, get_family
from detectors.core.flops import count_work

for name in ("pointpillars", "centerpoint_pillar", "pointrcnn"):
    family, grid = get_family(name), GRIDS[name]
    model = family.build(16, grid).train()
    inputs = family.voxelizer(grid, training=True)(batch(2, points=1024))
    sum(family.losses(model, inputs).values()).backward()
    assert all(p.grad is not None for p in model.parameters()), name
    with count_work(model.eval()) as work:
        family.dry_run(model, grid)
    assert work.multiply_accumulates > 0
for name in ("second", "centerpoint_voxel", "pv_rcnn"):
    try:
        get_family(name).build(16, GRIDS[name])
    except DetectorError as error:
        assert "need spconv" in str(error)
    else:
        raise AssertionError(name)
try:
    read_request(None, {"students": "pointpillars@4,second@4"})
except RequestError as error:
    assert "--students: second@4: sparse convolutions need spconv" in str(error)
else:
    raise AssertionError("request")
doctor.installed = lambda name: []
(finding,) = doctor._spconv()
assert (finding.level, finding.told) == ("warning", "not installed: no detector of voxels runs")
print("all ran")
"""


def test_pillars_and_points_do_without():
    path = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests' / 'detectors')!r}]\n"
    ended = subprocess.run(
        [sys.executable, "-c", path + SCRIPT], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert "all ran" in ended.stdout, ended.stderr[-2000:]
