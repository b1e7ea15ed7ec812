"""Python files of users, each a module of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType


def new_module(path: Path, kind: str) -> ModuleType:
    """The module of a file, not yet executed.

    Args:
        kind: what its name begins with; the file's place ends it.

    Raises:
        ImportError: the file is not Python by its name.
    """
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"{kind}_{path.stem}_{place}", path)
    if spec is None:
        raise ImportError("it does not end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where its annotations are looked up
    return module


def execute(module: ModuleType) -> None:
    """Run the code of a :func:`new_module`."""
    assert module.__spec__ is not None
    assert module.__spec__.loader is not None
    module.__spec__.loader.exec_module(module)
