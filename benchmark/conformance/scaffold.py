"""A new method's plugin file and its test."""

from __future__ import annotations

from pathlib import Path

from kd_methods import MethodError, method_names
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
    title = "".join(word.capitalize() for word in name.split("_"))
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.py": PLUGIN, folder / f"test_{name}.py": TEST}
    there = {path.name.lower(): path for path in folder.iterdir()}
    for path in (there[file.name.lower()] for file in files if file.name.lower() in there):
        if path.exists():
            raise MethodError(f"{path} already exists; choose another name or folder")
    for path, template in files.items():
        path.write_text(template.format(name=name, title=title), encoding="utf-8")
    plugin, test = files
    return plugin, test
