"""A new method's plugin file, or a new detector's config, and its test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from detectors import DetectorError
from detectors.core.registry import FAMILIES, RESERVED, is_name
from kd_methods import MethodError, method_names
from kd_methods.core.errors import PointKDError
from kd_methods.core.registry import check_name

PLUGIN = '''"""{title}: say here which knowledge it transfers."""

from kd_methods import KDMethod, register
from kd_methods.core.features import adapter


@register("{name}", paper="Author et al., Venue", year=2026)
class {title}(KDMethod):
    """The student's neck features, passed through an adapter, match the teacher's.

        L = mean_{{b,i,c}} |a(S) - T|^power,    a(S) = ReLU(BN(W S))

    T and S are the neck features, b a frame, i a BEV cell (or point), c a channel of the
    teacher. W is a 1x1 convolution to the teacher's width (a linear layer for points).

    Attributes:
        power: exponent of the absolute difference.

    Source: paper, section, equation.
    """

    lidar_source = ()  # families or students whose values a LiDAR paper gives; † marks others
    power: int = 2

    def needs(self):
        return {{"neck"}}

    def build(self, teacher, student):
        self.adapter = adapter(student.neck, teacher.neck)

    def loss(self, teacher, student, batch):
        difference = self.adapter(student.neck.values) - teacher.neck.values
        return {{"neck": difference.abs().pow(self.power).mean()}}
'''

TEST = '''"""{title} keeps to the interface."""

from pathlib import Path

from benchmark.conformance import method_checks
from kd_methods import load_plugin

load_plugin(Path(__file__).with_name("{name}.py"))


@method_checks("{name}")
def test_{name}(check):
    check()
'''


CONFIG = '''"""{title}: say here what it is, and where it comes from."""

_base_ = "mmdet3d::{base}"

model = dict(
{parts})
'''

DETECTOR_TEST = '''"""{title} keeps to the interface."""

from pathlib import Path

from benchmark.conformance import detector_checks
from detectors import load_detectors

load_detectors({{"{name}": Path(__file__).with_name("{name}.py")}})


@detector_checks("{name}")
def test_{name}(check):
    check()
'''

BASES = {
    "pointpillars": (
        "pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py",
        """\
    voxel_encoder=dict(feat_channels=[64]),
    backbone=dict(
        layer_nums=[3, 5, 5], layer_strides=[2, 2, 2], out_channels=[64, 128, 256]
    ),
    neck=dict(upsample_strides=[1, 2, 4], out_channels=[128, 128, 128]),
""",
    ),
    "second": (
        "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
        """\
    middle_encoder=dict(
        base_channels=16,
        encoder_channels=((16,), (32, 32, 32), (64, 64, 64), (64, 64, 64)),
        output_channels=128,
    ),
    backbone=dict(layer_nums=[5, 5], layer_strides=[1, 2], out_channels=[128, 256]),
    neck=dict(upsample_strides=[1, 2], out_channels=[256, 256]),
""",
    ),
}
"""What a new detector's config begins from, and those of its settings that are likely to change."""


def write_detector(name: str, like: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py, which pass the checks as they are.

    Args:
        like: of :data:`BASES`, the detector that it begins as.

    Raises:
        DetectorError: the name is not an identifier or is taken, or a file already exists.
    """
    if not is_name(name):
        raise DetectorError(
            f"{name!r} cannot name a detector; use letters, digits and underscores, e.g. my_net, "
            "and give its folder apart"
        )
    if name.lower() in {*RESERVED, *FAMILIES}:
        raise DetectorError(f"there is a detector {name!r} already; choose another name")
    base, parts = BASES[like]
    texts = {f"{name}.py": CONFIG, f"test_{name}.py": DETECTOR_TEST}
    values = {"name": name, "title": _title(name), "base": base, "parts": parts}
    return _write(folder, texts, values, DetectorError)


def write_plugin(name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py, which pass the checks as they are.

    Raises:
        MethodError: the name is not an identifier or is taken, or a file already exists.
    """
    if not name.isidentifier():
        raise MethodError(
            f"{name!r} cannot name a method; use letters, digits and underscores, e.g. my_kd, and "
            "give its folder apart"
        )
    check_name(name)
    if name.lower() in {taken.lower() for taken in method_names()}:
        raise MethodError(f"there is a method {name!r} already; choose another name")
    texts = {f"{name}.py": PLUGIN, f"test_{name}.py": TEST}
    return _write(folder, texts, {"name": name, "title": _title(name)}, MethodError)


def _title(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _write(
    folder: Path,
    texts: Mapping[str, str],
    values: Mapping[str, str],
    refusal: type[PointKDError],
) -> tuple[Path, Path]:
    """Write two files from templates; nothing is overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name.lower(): path for path in folder.iterdir()}
    for path in (there[file.lower()] for file in texts if file.lower() in there):
        if path.exists():
            raise refusal(f"{path} already exists; choose another name or folder")
    for file, template in texts.items():
        (folder / file).write_text(template.format(**values), encoding="utf-8")
    first, second = texts
    return folder / first, folder / second
