"""What a data set's folder means: its classes, its files and how detections are scored.

KITTI's own layout needs no description; any other set says it in ``dataset.yaml``, in its folder or
elsewhere. docs/adding-a-data-set.md explains each field.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.errors import DataError
from benchmark.files import read_text
from benchmark.files.settings import Problems, changed_settings, choice, parse_yaml, read_dataclass
from detectors.core.grid import KITTI_CLASSES, ObjectClass

FILE = "dataset.yaml"
RESERVED = ("DontCare", "mAP")
"""What no class can be called."""
LAYOUTS = ("kitti", "openpcdet")
VIEWS = ("camera", "full")
METRICS = ("kitti", "distance")
FORMATS = ("bin", "npy", "pcd")
OVERLAPS = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
"""KITTI's, and those of classes like them."""


LONGEST_SIDE = 0.05, 100.0
"""Metres between which the longest side of a class's box lies."""
HEIGHTS = 0.5, 200.0
"""Metres between which the height of what detectors see lies."""
FARTHEST = 500.0
"""Metres; a laser scan is hardly larger."""


def is_class_name(word: object) -> bool:
    """Whether it can name a class, in labels, tables and pages."""
    return isinstance(word, str) and re.fullmatch(r"[A-Za-z][\w-]*", word) is not None


def _words(value: Any, path: str, problems: Problems) -> tuple[str, ...]:
    """One or several names."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        problems.append(f"{path} is {value!r}; it must be a list of names")
        return ()
    return tuple(words)


@dataclass(frozen=True)
class DescribedClass:
    """A class as a data set has it.

    Attributes:
        size: mean length, width and height, metres: of anchors, and what point heads start from.
        bottom: median height of objects' bottom in the LiDAR's frame, metres.
        overlap: intersection over union of boxes that KITTI's rules ask for; by default that of the
            KITTI class that is most alike.
        names: what labels call it; by default its own name.
        neighbours: names of labels so similar that detections of this class on them count for
            nothing, as KITTI's vans for cars.
    """

    size: tuple[float, float, float] = field(metadata={"above": 0, "most": LONGEST_SIDE[1]})
    bottom: float
    overlap: float | None = field(default=None, metadata={"above": 0, "most": 1})
    names: tuple[str, ...] = field(default=(), metadata={"read": _words})
    neighbours: tuple[str, ...] = field(default=(), metadata={"read": _words})


@dataclass(frozen=True)
class ScanFormat:
    """What a file of points holds.

    Attributes:
        format: ``bin`` (bare numbers), ``npy`` (NumPy) or ``pcd`` (Point Cloud Library).
        dtype: of the numbers of a ``bin`` file.
        fields: numbers of a point; the first four are x, y, z (metres) and reflectance. With three
            the reflectance is 0.
        reflectance: its highest value, by which it is divided.
    """

    format: str = field(default="bin", metadata={"read": choice(*FORMATS)})
    dtype: str = field(default="float32", metadata={"read": choice("float32", "float64")})
    fields: int = field(default=4, metadata={"least": 3})
    reflectance: float = field(default=1.0, metadata={"above": 0})


def _classes(value: Any, path: str, problems: Problems) -> Mapping[str, DescribedClass]:
    """Classes by name, in their order."""
    if not isinstance(value, Mapping) or not value:
        problems.append(f"{path} is {value!r}; it must be 'class: {{size: ..., bottom: ...}}'")
        return {}
    before = len(problems)
    problems += [
        f"{path}.{name}: not a class; use letters, digits, '_' and '-', and put on, off, yes, no "
        "and null into quotes"
        for name in value
        if not is_class_name(name)
    ]
    problems += [
        f"{path}.{name}: a reserved name; choose another" for name in {*value} & {*RESERVED}
    ]
    lower = Counter(str(name).lower() for name in value)
    problems += [
        f"{path}: {name} is there in several spellings; keep one, and the others in its names"
        for name, count in lower.items()
        if count > 1
    ]
    found = {
        str(name): read_dataclass(DescribedClass, given, f"{path}.{name}", problems)
        for name, given in value.items()
    }
    for i, problem in enumerate(problems[before:], before):
        if problem.endswith("is missing"):
            problems[i] = f"{problem}; `data describe` measures it from the labels"
    return found


@dataclass(frozen=True)
class Description:
    """What a folder means; by default KITTI's.

    Attributes:
        classes: what detectors are to find, by name, in the order of class indices.
        layout: of the folder: ``kitti``, or ``openpcdet`` (its custom one: points, labels with
            x y z dx dy dz heading class, ImageSets).
        points: what files of points hold.
        view: ``camera`` crops scans to the image and counts objects by their height, occlusion and
            truncation in it; ``full`` keeps all points and counts all objects.
        range: x, y, z minimum, then maximum, metres, that detectors see; None is that of their own
            KITTI configs.
        metric: ``kitti``, or ``distance`` (nuScenes' AP by distance of centres).
        ignore: names of labels that are left out on purpose.
        folder: where the data are, if the file lies elsewhere; relative to the file.
    """

    classes: Mapping[str, DescribedClass] = field(
        default_factory=lambda: _KITTI, metadata={"read": _classes}
    )
    layout: str = field(default="kitti", metadata={"read": choice(*LAYOUTS)})
    points: ScanFormat = ScanFormat()
    view: str = field(default="camera", metadata={"read": choice(*VIEWS)})
    range: tuple[float, float, float, float, float, float] | None = None
    metric: str = field(default="kitti", metadata={"read": choice(*METRICS)})
    ignore: tuple[str, ...] = field(default=(), metadata={"read": _words})
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.layout == "openpcdet" and self.view == "camera":
            raise ValueError("view is 'camera', which openpcdet has not; write 'view: full'")
        ends = list(zip(self.range[:3], self.range[3:], strict=True)) if self.range else []
        if not all(-FARTHEST <= low < high <= FARTHEST for low, high in ends):
            raise ValueError(
                "range must be x, y, z minimum, then x, y, z maximum, metres, up to "
                f"{FARTHEST:g} from the sensor"
            )
        least, most = HEIGHTS
        if ends and not least <= ends[2][1] - ends[2][0] <= most:
            raise ValueError(f"range must be {least:g} to {most:g} m high")
        taken: dict[str, str] = {}
        for name, each in self.classes.items():
            for word in {name, *each.names} | set(each.neighbours):
                if word in each.neighbours and word in self.called:
                    raise ValueError(f"classes.{name}.neighbours: {word} is a class of its own")
                if word not in each.neighbours and taken.setdefault(word, name) != name:
                    raise ValueError(f"labels {word} are both {taken[word]} and {name}; keep one")

    @property
    def called(self) -> dict[str, str]:
        """Class by the name that labels have for it."""
        return {word: name for name, each in self.classes.items() for word in (name, *each.names)}

    @property
    def neighbours(self) -> set[str]:
        """Names of labels that are close to a class."""
        return {word for each in self.classes.values() for word in each.neighbours}

    @property
    def object_classes(self) -> tuple[ObjectClass, ...]:
        """What detectors take from it."""
        return tuple(
            ObjectClass(name, each.size, each.bottom) for name, each in self.classes.items()
        )

    @property
    def overlaps(self) -> dict[str, float]:
        """Intersection over union that KITTI's rules ask for, by class."""
        return {
            each.name: self.classes[each.name].overlap or OVERLAPS[each.like]
            for each in self.object_classes
        }

    @property
    def by_image(self) -> bool:
        """Whether objects count by what the camera sees of them."""
        return self.view == "camera"

    def translate(self, names: np.ndarray) -> np.ndarray:
        """(n,) labels' names, by their class where they have one."""
        called = self.called
        return np.array([called.get(name, name) for name in names.tolist()], np.str_)

    def settings(self) -> dict[str, Any]:
        """What is not KITTI's, as plain values."""
        changed = changed_settings(self)
        changed.pop("folder", None)
        return changed


_KITTI: Mapping[str, DescribedClass] = {
    each.name: DescribedClass(each.size, each.bottom, OVERLAPS[each.name], neighbours=near)
    for each, near in zip(KITTI_CLASSES, [("Person_sitting",), (), ("Van",)], strict=True)
}
KITTI = Description()


def find_description(source: Path) -> tuple[Path, Description]:
    """The folder of a data set, and what it means.

    Args:
        source: the folder, described by its ``dataset.yaml`` if it has one, else KITTI's; or a
            description that names its ``folder``.

    Raises:
        DataError: lists all that is wrong with the description.
    """
    if source.is_dir():
        _refuse_misnamed(source)
        path = source / FILE
        if not (path.exists() or path.is_symlink()):
            return source, KITTI
        source = path
    if source.is_file() and source.suffix not in (".yaml", ".yml"):
        raise DataError(f"{source}: not a folder, nor the description of one (.yaml)")
    if source.suffix not in (".yaml", ".yml"):
        raise DataError(
            f"folder {source} does not exist; give one in KITTI's layout, or the description of "
            "another (.yaml)"
        )
    found = read_description(source)
    if found.folder is None and source.name != FILE:
        raise DataError(f"{source}: folder is missing; write where the data are, 'folder: PATH'")
    root = source.parent / (found.folder or ".")
    if not root.is_dir():
        raise DataError(f"{source}: folder {found.folder} does not exist")
    return root, found


def _refuse_misnamed(root: Path) -> None:
    """Refuse a description under a name by which nobody looks for it."""
    others = [p for p in (root / "dataset.yml", root / "dataset.YAML") if p.is_file()]
    if others and not (root / FILE).exists():
        raise DataError(f"{others[0]}: not read under this name; call it {FILE}")


def read_description(path: Path) -> Description:
    """The description in a file.

    Raises:
        DataError: lists all that is wrong with it.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder; write the description as a file")
    if not path.is_file():
        raise DataError(f"{path}: {'a link to nothing' if path.is_symlink() else 'no such file'}")
    problems: Problems = []
    found = None
    try:
        found = read_dataclass(Description, parse_yaml(read_text(path, DataError)), "", problems)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise DataError("\n".join(f"{path}: {told}" for told in dict.fromkeys(problems)))
    assert isinstance(found, Description)
    return found
