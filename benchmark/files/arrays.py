"""Archives of NumPy arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kd_methods.core.errors import describe


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; nothing else is read from it.

    Raises:
        ValueError: the file is damaged, or no such archive.
        OSError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError:
        raise
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(f"no sound archive of arrays ({describe(error)})") from None
