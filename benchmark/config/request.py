"""A request for a matrix: a YAML file, options of the command line, or both.

Fields and options are the same, and an option wins over the file. All problems are
reported at once, each with its path in the file.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmark.config import bundled
from benchmark.config.controls import CONTROLS
from benchmark.config.matrix import WEIGHTINGS, Matrix, describe_data
from benchmark.config.profile import Profile, ProfileError, load_profile
from benchmark.config.tuned import Tuned, TuningError, read_tuned
from benchmark.data import synthetic
from benchmark.data.description import find_description
from benchmark.data.errors import DataError
from benchmark.device import choose_precision
from benchmark.files import read_text
from benchmark.files.settings import Reader, choice, parse_yaml
from benchmark.records.store import NONE
from detectors import DetectorError, get_family, load_detectors, parse_student
from detectors.core.registry import FAMILIES
from kd_methods import MethodError, create, load_plugin, method_names, written_forms
from kd_methods.core.errors import PointKDError, describe, suggestion
from kd_methods.core.interface import checked_needs

LARGEST_SEED = 2**32 - 1
MOST_SEEDS = 10_000
"""In one span."""
SYNTHETIC = "synthetic"
"""The data set that is generated."""


class RequestError(PointKDError):
    """A request that cannot be run; lists all problems."""


@dataclass(frozen=True)
class Request:
    """What to run and how.

    Attributes:
        data: folder in KITTI's layout, or ``synthetic``.
        profile: how long and how large to train.
        students: e.g. ``pointpillars@4``.
        methods: written forms; ``none`` is the student alone.
        seeds: of initial weights, order and augmentation.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        weighting: ``source`` or ``balanced``.
        teachers: checkpoints made elsewhere, by family.
        plugins: files that register methods.
        detectors: files of detectors and students that are none of ours, by name.
        teacher_of: families of teachers, by the students' families; where missing, the same.
        controls: names of rows that are no method but say what a gain is worth.
        settings: that ``tune`` chose, instead of the source's.
        cohort_size: most cells that train in lockstep; 0 sets no limit.
        results: folder for records and tables.
    """

    profile: Profile
    data: str = SYNTHETIC
    students: Sequence[str] = ("pointpillars@4",)
    methods: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    precision: str = "auto"
    weighting: str = WEIGHTINGS[0]
    teachers: Mapping[str, Path] = field(default_factory=dict)
    plugins: Sequence[Path] = ()
    detectors: Mapping[str, Path] = field(default_factory=dict)
    teacher_of: Mapping[str, str] = field(default_factory=dict)
    controls: Sequence[str] = ()
    settings: Tuned | None = None
    cohort_size: int = 0
    results: Path = Path("results/run")


def read_request(matrix: str | None, options: Mapping[str, Any]) -> Request:
    """A request from a matrix file and options; either may be missing.

    Plugins and detectors are loaded, as methods and students may come from them.

    Args:
        matrix: path of a YAML file, or the name of a matrix that comes with the benchmark.
        options: fields given on the command line; None means not given.

    Raises:
        RequestError: lists every field that is wrong, with its path.
        OSError: the file cannot be read.
    """
    origin, folder, fields = _load(matrix)
    given = {name: value for name, value in options.items() if value is not None}
    if matrix is not None:
        fields.setdefault("results", str(Path("results") / Path(matrix).stem))
    problems = [
        f"{name}: unknown field{suggestion(str(name), FIELDS)}; known are {', '.join(FIELDS)}"
        for name in fields
        if name not in FIELDS
    ]
    values: dict[str, Any] = {}
    _move_files(given, fields, folder, problems)
    for name in FIELDS:  # plugins and detectors come first
        if name in given:
            values[name] = FIELDS[name](given[name], _option(name), problems)
        elif name in fields:
            value = fields[name]
            if name in ("plugins", "detectors", "teachers", "settings"):
                value = _from_folder(value, folder)
            values[name] = FIELDS[name](value, name, problems)
    epochs = values.pop("epochs", None)
    values["profile"] = _profile(values.get("profile", "smoke"), epochs, problems)
    if values.get("settings"):
        problems += _follow_settings(values)
    if "methods" not in values:
        values["methods"] = every_method()
    if any(": plugin " in problem for problem in problems):  # its methods are not to blame
        problems = [problem for problem in problems if "unknown method" not in problem]
    problems += _untaught(values)
    problems = _first_causes(problems, values.get("detectors") or {})
    if problems:
        raise RequestError(f"{origin}: " + "; ".join(problems))
    return Request(**values)


def _first_causes(problems: Sequence[str], detectors: Mapping[str, Path]) -> list[str]:
    """The problems, without those of students whose detector's file is to blame."""
    causes = [p for p in problems if p.startswith(("detectors", "--detector"))]
    if not causes:
        return list(problems)
    follow = ("unknown detector", *(f"student {name!r}: write" for name in detectors))
    return [p for p in problems if p in causes or not any(told in p for told in follow)]


def _untaught(values: Mapping[str, Any]) -> list[str]:
    """Families of students that are given a teacher, and have none."""
    there = {student.partition("@")[0] for student in values.get("students") or ("pointpillars@4",)}
    return [
        f"teacher_of.{family}: no student is of this family; leave it out, or add one"
        for family in values.get("teacher_of") or ()
        if family not in there
    ]


def student_file(text: str) -> tuple[str, Path] | None:
    """Name and file of a student that is given as ``second@xs.py``; None for any other."""
    found = re.fullmatch(r"\s*(\w+)@(.+\.py)\s*", text)
    return found and (f"{found[1]}@{Path(found[2]).stem}", Path(found[2]))


def _move_files(
    given: dict[str, Any], fields: dict[str, Any], folder: Path, problems: list[str]
) -> None:
    """Name students that are given as files, ``second@xs.py``, and put the files to the detectors.

    Args:
        given: the options.
        fields: the file's, whose paths are as seen from ``folder``.
    """
    source, place = (given, Path()) if "students" in given else (fields, folder)
    students = source.get("students")
    items = students.split(",") if isinstance(students, str) else students
    if not isinstance(items, list):
        return
    named = list(items)
    files: dict[str, str] = {}
    for i, item in enumerate(items):
        if found := student_file(str(item)):
            named[i] = name = found[0]
            file = str((place / found[1]).resolve())
            if files.setdefault(name, file) != file:
                problems.append(f"students: {name} is both {files[name]} and {file}; rename one")
    if files:
        source["students"] = named
        target = given if "detectors" in given else fields
        known = target.get("detectors") or {}
        listed = [f"{name}={file}" for name, file in files.items()]
        target["detectors"] = [*known, *listed] if isinstance(known, list) else known | files


def _follow_settings(values: dict[str, Any]) -> list[str]:
    """Take students and methods from tuned settings where none are given; what they lack."""
    tuned: Tuned = values["settings"]
    students = values.setdefault("students", list(tuned.choices))
    every = dict.fromkeys(
        method for student in students for method in tuned.choices.get(student, ())
    )
    methods = values.setdefault("methods", list(every))
    problems = tuned.lacking(students, methods)
    if values.get("weighting", WEIGHTINGS[0]) != WEIGHTINGS[0]:
        problems.append("weighting: balanced weights and tuned settings exclude each other")
    return [f"settings: {problem}" for problem in problems]


def _option(name: str) -> str:
    """The option of a field; repeatable ones are in the singular."""
    singular = {"plugins": "plugin", "detectors": "detector", "teachers": "teacher"}
    return "--" + singular.get(name, name).replace("_", "-")


def _load(matrix: str | None) -> tuple[str, Path, dict[str, Any]]:
    """Where a request comes from, the folder of its relative paths, its fields."""
    if matrix is None:
        return "options", Path(), {}
    path = Path(matrix)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise RequestError(f"matrix file {path} does not exist")
        text, folder = read_text(path, RequestError), path.parent
    elif matrix in bundled.names("matrices"):
        text = bundled.text("matrices", matrix)
        folder = Path()
    else:
        raise RequestError(
            f"unknown matrix {matrix!r}{suggestion(matrix, bundled.names('matrices'))}; known are "
            f"{', '.join(bundled.names('matrices'))}, or give the path of a .yaml file"
        )
    try:
        fields = parse_yaml(text)
    except ValueError as error:
        raise RequestError(f"matrix {matrix}: {error}") from None
    if not isinstance(fields, dict):
        raise RequestError(f"matrix {matrix} must hold 'field: value' pairs")
    return f"matrix {matrix}", folder, fields


def _from_folder(value: Any, folder: Path) -> Any:
    """Paths as seen from the folder of the file that names them."""
    if isinstance(value, dict):
        return {key: _from_folder(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_folder(item, folder) for item in value]
    return str(folder / value) if isinstance(value, str) else value


def _profile(name: Any, epochs: int | None, problems: list[str]) -> Any:
    try:
        return load_profile(name, epochs=epochs)
    except ProfileError as error:
        problems.append(str(error))
        return None


def _text(value: Any, path: str, problems: list[str]) -> str:
    if not isinstance(value, str) or not value:
        problems.append(f"{path} is {value!r}; it must be text")
        return ""
    return value


def _folder(value: Any, path: str, problems: list[str]) -> str:
    if value == SYNTHETIC or not (text := _text(value, path, problems)):
        return value
    try:
        find_description(Path(text))
    except DataError as error:
        problems.append(f"{path}: {error}")
    return value


def _whole(least: int) -> Reader:
    def read(value: Any, path: str, problems: list[str]) -> Any:
        if type(value) is float and value.is_integer():
            value = int(value)  # 1e3 is one to YAML
        if type(value) is not int or value < least:
            problems.append(f"{path} is {value!r}; it must be a whole number of at least {least}")
        return value

    return read


def _items(value: Any, path: str, problems: list[str]) -> list[tuple[str, Any]]:
    """Each item of a list, or of comma-separated text, with its path."""
    if isinstance(value, str):
        words = [word.strip() for word in value.split(",") if word.strip()]
        items = [(path, word) for word in words]
    elif isinstance(value, list):
        items = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    else:
        items = [(path, value)]
    if not items:
        problems.append(f"{path}: the list is empty")
    return items


def _students(value: Any, path: str, problems: list[str]) -> list[str]:
    students = []
    for where, item in _items(value, path, problems):
        try:
            student = parse_student(str(item))
        except DetectorError as error:
            problems.append(f"{where}: {error}")
            continue
        if told := student.family.lacking():
            problems.append(f"{where}: {student.name}: {told}")
        if "@" not in student.name:
            problems.append(f"{where}: student {item!r} has no ratio; write e.g. {item}@4")
        students.append(student.name)
    return list(dict.fromkeys(students))


def _methods(value: Any, path: str, problems: list[str]) -> list[str]:
    methods: list[str] = []
    for where, item in _items(value, path, problems):
        if item == "all":
            methods += every_method()
            continue
        forms = _matching(str(item)) if "*" in str(item) else [str(item)]
        if not forms:
            problems.append(f"{where}: no method is like {item!r}; `list methods` names them")
        for form in forms:
            methods.append(form)
            if form != NONE:
                problems += [f"{where}: {problem}" for problem in _method_problems(form)]
    distinct: dict[Any, str] = {}
    for form in methods:
        distinct.setdefault(_meaning(form), form)
    return list(distinct.values())


def _meaning(form: str) -> Any:
    """The same for written forms of the same methods and values: what it says of each method."""
    try:
        values = create(form, "pointpillars@4").hyperparameters()
    except (Exception, SystemExit):  # told already
        return form
    parts = [part.split(":") for part in form.split("+")]
    if len(parts) == 1:
        values = {parts[0][0]: values}
    given = {name: [pair.partition("=")[0] for pair in said] for name, *said in parts}
    return frozenset(
        (name, frozenset((key, values[name][key]) for key in keys)) for name, keys in given.items()
    )


def _matching(pattern: str) -> list[str]:
    """The methods, or compositions of different ones, whose names are like a pattern.

    In ``fitnet+sparsekd_*`` each ``*`` stands for any characters of a name.
    """
    names = [
        fnmatch.filter(method_names(), part) if "*" in part else [part]
        for part in pattern.split("+")
    ]
    found = itertools.product(*names)
    return ["+".join(parts) for parts in found if len(set(parts)) == len(parts)]


def _controls(value: Any, path: str, problems: list[str]) -> list[str]:
    names = [(where, str(item)) for where, item in _items(value, path, problems)]
    problems += [
        f"{where}: unknown control {name!r}{suggestion(name, CONTROLS)}; known are "
        f"{', '.join(CONTROLS)}"
        for where, name in names
        if name not in CONTROLS
    ]
    return list(dict.fromkeys(name for _, name in names))


def _settings(value: Any, path: str, problems: list[str]) -> Tuned | None:
    try:
        return read_tuned(Path(_text(value, path, problems)))
    except TuningError as error:
        problems.append(f"{path}: {error}")
        return None


def _method_problems(written: str) -> Iterator[str]:
    """Why a method cannot be created, or asks for outputs that no detector has."""
    called = "its constructor"
    try:
        method = create(written, "pointpillars@4")
        called = "needs()"
        checked_needs(method)
    except MethodError as error:
        yield str(error)
    except (Exception, SystemExit) as error:
        yield f"{written}: {called} raises {describe(error)}"


def _seeds(value: Any, path: str, problems: list[str]) -> list[int]:
    seeds: list[int] = []
    for where, item in _items(value, path, problems):
        span = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", str(item))
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (0, -1)
        if 0 <= last - first < MOST_SEEDS and last <= LARGEST_SEED:
            seeds += range(first, last + 1)
        else:
            problems.append(
                f"{where}: seed {item!r} must be a whole number of at least 0 and at most "
                f"{LARGEST_SEED}, or several, at most {MOST_SEEDS}, as 0-4"
            )
    return list(dict.fromkeys(seeds))


def _paths(value: Any, path: str, problems: list[str]) -> list[Path]:
    paths = [(where, Path(str(item))) for where, item in _items(value, path, problems)]
    problems += [
        f"{where}: file {item} does not exist" for where, item in paths if not item.is_file()
    ]
    return [item for _, item in paths]


def _plugins(value: Any, path: str, problems: list[str]) -> list[Path]:
    plugins = _paths(value, path, problems) if value else []
    for plugin in plugins:
        if plugin.is_file():
            try:
                load_plugin(plugin)
            except MethodError as error:
                problems.append(f"{path}: {error}")
    return plugins


def _pairs(value: Any, path: str, problems: list[str]) -> dict[str, str]:
    """Pairs of a file, or from NAME=VALUE as options give them."""
    if isinstance(value, list):
        given = [str(item).partition("=")[::2] for item in value]
        pairs = dict(given)
        problems += [f"{path}: {n} is given twice" for n in pairs if len(given) > len(pairs)][:1]
        problems += [f"{path}: write NAME=... instead of {n!r}" for n in pairs if not pairs[n]]
        return {name: text for name, text in pairs.items() if text}
    if isinstance(value, dict):
        return {str(name): str(text) for name, text in value.items()}
    problems.append(f"{path} is {value!r}; it must be 'name: value' pairs")
    return {}


def _files(value: Any, path: str, problems: list[str]) -> dict[str, Path]:
    """Files by name."""
    files = {name: Path(file) for name, file in _pairs(value, path, problems).items()}
    problems += [
        f"{path}.{name}: file {file} does not exist"
        for name, file in files.items()
        if not file.is_file()
    ]
    return files


def _detectors(value: Any, path: str, problems: list[str]) -> dict[str, Path]:
    files = _files(value, path, problems)
    try:
        load_detectors({name: file for name, file in files.items() if file.is_file()})
    except DetectorError as error:
        problems.append(f"{path}: {error}")
    return files


def _teachers(value: Any, path: str, problems: list[str]) -> dict[str, Path]:
    """Checkpoints by family."""
    files = _files(value, path, problems)
    for family in files:
        if family not in FAMILIES:
            near = suggestion(family, FAMILIES)
            problems.append(
                f"{path}: unknown detector {family!r}{near}; write FAMILY=FILE with one of "
                f"{', '.join(FAMILIES)}"
            )
    return files


def _teacher_of(value: Any, path: str, problems: list[str]) -> dict[str, str]:
    """Families of teachers by families of students."""
    pairs = _pairs(value, path, problems)
    for student, teacher in pairs.items():
        for name in (student, teacher):
            try:
                get_family(str(name))
            except DetectorError as error:
                problems.append(f"{path}: {error}")
        if not problems and student != teacher and _samples(teacher):
            problems.append(
                f"{path}: {teacher} reads a sample of each frame's points, so it can only teach "
                f"students of its own family, not {student}"
            )
    return pairs


def _samples(family: str) -> bool:
    """Whether a family reads a fixed number of points."""
    return get_family(family).default_grid().num_points > 0


def every_method() -> list[str]:
    """``none`` and every method, each of its variants on its own."""
    return [NONE, *(form for name in method_names() for form in written_forms(name))]


def resolve(request: Request, cache: Path, device: torch.device) -> tuple[Matrix, Path]:
    """The matrix of a request and the folder of its data, which is generated if necessary."""
    generated = request.data == SYNTHETIC
    if generated:
        root = synthetic.ensure(cache / "synthetic", **request.profile.synthetic)
    else:
        root = Path(request.data)
    matrix = Matrix(
        describe_data(root, generated),
        request.profile,
        request.students,
        request.methods,
        request.seeds,
        choose_precision(request.precision, device),
        request.weighting,
        request.teachers,
        request.teacher_of,
        request.cohort_size,
        request.controls,
        request.settings,
    )
    return matrix, root


FIELDS: dict[str, Reader] = {
    "plugins": _plugins,
    "detectors": _detectors,
    "teacher_of": _teacher_of,
    "data": _folder,
    "profile": _text,
    "epochs": _whole(1),
    "students": _students,
    "methods": _methods,
    "seeds": _seeds,
    "precision": choice("auto", "fp32", "bf16", "fp16"),
    "weighting": choice(*WEIGHTINGS),
    "teachers": _teachers,
    "controls": _controls,
    "settings": _settings,
    "cohort_size": _whole(0),
    "results": lambda value, path, problems: Path(_text(value, path, problems)),
}
"""What a matrix file may hold, in the order in which it is read."""

assert {field.name for field in dataclasses.fields(Request)} == FIELDS.keys() - {"epochs"}
