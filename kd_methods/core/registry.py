"""Methods by name: ours, those of installed packages, and those of a plugin file."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args

from torch import Tensor, nn

from kd_methods.core.catalogue import BUILT_IN, plugins
from kd_methods.core.errors import describe, suggestion
from kd_methods.core.interface import (
    Batch,
    KDMethod,
    MethodError,
    Outputs,
    Spec,
    hyperparameter_types,
)
from kd_methods.core.user_code import execute, new_module

OWN = ("kd_methods", "detectors", "benchmark", "run_bench")
"""Packages of the benchmark, whose commit a record names."""
RESERVED = ("all", "composition", "missing", "none", "teacher")
"""What commands and tables mean by these words is something else."""
_registered: dict[str, type[KDMethod]] = {}
_Method = TypeVar("_Method", bound=type[KDMethod])


def register(name: str, *, paper: str, year: int) -> Callable[[_Method], _Method]:
    """Class decorator that puts a method into the registry.

    Args:
        name: what users write on the command line: letters, digits and underscores.
        paper: author and venue.
        year: of publication.

    Raises:
        MethodError: the name is taken or not a name, the class is not a KDMethod, or ``needs``
            or ``loss`` is missing or has another signature.
    """

    def decorate(cls: _Method) -> _Method:
        _check(name, cls)
        cls.name, cls.paper, cls.year = name, paper, year
        _registered[name] = cls
        return cls

    return decorate


def method_names() -> list[str]:
    """All names that can be used, sorted."""
    return sorted({*BUILT_IN, *_registered, *plugins()})


def method_class(name: str) -> type[KDMethod]:
    """The class registered under a name; its module is imported when first asked for.

    Raises:
        MethodError: no such method, or its package does not import.
    """
    if name not in _registered:
        loaders = {**plugins(), **dict.fromkeys(BUILT_IN)}
        if name not in loaders:
            known = method_names()
            raise MethodError(
                f"unknown method {name!r}{suggestion(name, known)}; known are {', '.join(known)}; "
                "--plugin FILE adds your own"
            )
        _load(name, loaders[name])
    if name not in _registered:
        raise MethodError(f"plugin {name!r} was imported but does not @register({name!r})")
    return _registered[name]


def written_forms(name: str) -> list[str]:
    """A method as users write it, once per variant: ``name`` for the default one."""
    cls = method_class(name)
    kind = hyperparameter_types(cls).get("variant")
    default = getattr(cls, "variant", None)
    others = [variant for variant in get_args(kind) if variant != default]
    return [name, *(f"{name}:variant={variant}" for variant in others)]


def load_plugin(path: Path) -> list[str]:
    """Import a file that registers methods, and return their names. Safe to call again.

    Raises:
        MethodError: the file is missing, fails to import (which line, why) or registers nothing.
    """
    if not path.is_file():
        raise MethodError(f"plugin {path} does not exist")
    try:
        module = new_module(path, "kd_plugin")
    except ImportError as error:
        raise MethodError(f"plugin {path} is no Python file: {error}") from None
    _import(str(path), lambda: execute(module), path)
    names = sorted(n for n, cls in _registered.items() if cls.__module__ == module.__name__)
    if not names:
        raise MethodError(f"plugin {path} registers no method; decorate a class with @register")
    return names


def source_hash(text: str) -> str:
    """16 hex digits of the code of the plugins behind a written form; empty without plugins.

    The code of a plugin is its file, or every Python file of its package, with what these import
    that is neither installed nor a part of the benchmark.

    Raises:
        MethodError: no such method.
    """
    digest = hashlib.sha256()
    classes = [method_class(part.partition(":")[0]) for part in text.split("+")]
    files = sorted({file for cls in classes for file in source_files(cls)})
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16] if files else ""


def source_files(cls: type[KDMethod]) -> list[Path]:
    """The files of a method's code; none for a built-in method or one that was never in a file."""
    top = sys.modules.get(cls.__module__.partition(".")[0])
    if getattr(top, "__name__", "") == "kd_methods":
        return []
    found: set[Path] = set()
    todo = _files_of(top)
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += [helper for name in _imports(file) for helper in _helper_files(name)]
    return sorted(found)


def _files_of(module: ModuleType | None) -> list[Path]:
    """The Python files of a module, or of a whole package."""
    return _python_files(getattr(module, "__path__", None), getattr(module, "__file__", None))


def _python_files(folders: Iterable[str] | None, file: str | None) -> list[Path]:
    """All in a package's folders, or a module's one file if it is of Python."""
    if places := list(folders or ()):
        return [found for place in places for found in sorted(Path(place).rglob("*.py"))]
    return [Path(file)] if file and file.endswith(".py") else []


def _imports(file: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def _helper_files(name: str) -> list[Path]:
    """The files of an imported package, unless it is installed or the benchmark's own."""
    try:
        spec = importlib.util.find_spec(name)  # it may not have been imported yet
    except (ImportError, ValueError):
        return []
    files = _python_files(spec.submodule_search_locations, spec.origin) if spec else []
    foreign = name not in OWN and not any(
        file.resolve().is_relative_to(place) for file in files for place in _installed_places()
    )
    return files if foreign else []


@cache
def _installed_places() -> set[Path]:
    """Where the standard library and installed packages lie."""
    paths = sysconfig.get_paths()
    return {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}


def create(text: str, student: str) -> KDMethod:
    """A method from its written form, not yet built.

    Args:
        text: ``name``, ``name:key=value:key=value`` or several joined with ``+``.
        student: e.g. ``pointpillars@4``.

    Raises:
        MethodError: unknown method or setting, or a setting that is not ``key=value``.
    """
    parts = [_create_one(part, student) for part in text.split("+")]
    return parts[0] if len(parts) == 1 else Composition(student, parts)


class Composition(KDMethod):
    """Several methods at once; their losses are added, their targets applied in order."""

    name = "composition"

    def __init__(self, student: str, parts: list[KDMethod]) -> None:
        super().__init__(student)
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise MethodError(f"{'+'.join(names)} contains a method twice")
        self.parts = nn.ModuleList(parts)

    def needs(self) -> set[str]:
        return set().union(*(part.needs() for part in self._parts()))

    def build(self, teacher: Spec, student: Spec) -> None:
        for part in self._parts():
            part.build(teacher, student)

    def initialise(self, student: nn.Module, teacher: nn.Module) -> None:
        for part in self._parts():
            part.initialise(student, teacher)

    def targets(self, teacher: Outputs, batch: Batch) -> Batch:
        for part in self._parts():
            batch = part.targets(teacher, batch)
        return batch

    def on_epoch(self, epoch: int, epochs: int) -> None:
        for part in self._parts():
            part.on_epoch(epoch, epochs)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {
            f"{part.name}.{key}": value
            for part in self._parts()
            for key, value in part(teacher, student, batch).items()
        }

    def hyperparameters(self) -> dict[str, Any]:
        return {part.name: part.hyperparameters() for part in self._parts()}

    def identifying(self) -> dict[str, Any]:
        return {part.name: part.identifying() for part in self._parts()}

    def extrapolated(self) -> bool:
        return any(part.extrapolated() for part in self._parts())

    def _parts(self) -> list[KDMethod]:
        return list(self.parts)  # type: ignore[arg-type]


def _create_one(text: str, student: str) -> KDMethod:
    if not (text.isascii() and text.isprintable()):
        raise MethodError(f"{text!r}: write methods and settings in plain ASCII")
    name, *settings = text.split(":")
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise MethodError(f"{text!r}: setting {setting!r} must be key=value")
        values[key] = value
    return method_class(name)(student, **values)


def check_name(name: str) -> None:
    """Raise :class:`MethodError` unless a name can be one of a method."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise MethodError(
            f"{name!r} is not a valid method name; use letters a to z, digits and underscores"
        )
    if name in RESERVED:
        raise MethodError(
            f"method name {name!r} is taken: tables and commands mean something else by it; "
            "choose another"
        )


def _check(name: str, cls: type[KDMethod]) -> None:
    check_name(name)
    taken = _registered.get(name)
    if taken and taken.__module__ != cls.__module__:
        raise MethodError(f"method name {name!r} is taken by {taken.__module__}; choose another")
    if name in BUILT_IN and cls.__module__ != BUILT_IN[name]:
        raise MethodError(f"method name {name!r} is taken by {BUILT_IN[name]}; choose another")
    if not (isinstance(cls, type) and issubclass(cls, KDMethod)):
        raise MethodError(f"{cls.__name__} must be a subclass of kd_methods.KDMethod")
    for function, arguments in (("needs", 1), ("loss", 4)):
        own = getattr(cls, function)
        if own is getattr(KDMethod, function):
            raise MethodError(f"{cls.__name__} must define {function}()")
        if len(inspect.signature(own).parameters) != arguments:
            expected = ", ".join(inspect.signature(getattr(KDMethod, function)).parameters)
            raise MethodError(f"{cls.__name__}.{function} must be {function}({expected})")


def _load(name: str, point: Any) -> None:
    if name in BUILT_IN:
        importlib.import_module(BUILT_IN[name])
    else:
        _import(f"{name} ({point.value})", point.load)


def _import(what: str, action: Callable[[], object], file: Path | None = None) -> None:
    """Import a plugin.

    Args:
        file: of its code, where that is known.

    Raises:
        MethodError: it cannot be imported; names the place.
    """
    try:
        action()
    except MethodError as error:
        raise MethodError(f"plugin {what}: {error}") from None
    except (Exception, SystemExit) as error:
        raise MethodError(
            f"plugin {what} failed to import at {_place(error, file)}: {describe(error)}"
        ) from error


def _place(error: BaseException, file: Path | None) -> str:
    """File and line that an error of an import speaks of: the last in a file, if that is known."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(file)]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
