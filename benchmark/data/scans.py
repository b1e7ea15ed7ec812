"""Point clouds of one file each: as KITTI's, four float32 a point, x, y, z in metres and
reflectance 0..1, or as a data set's description says.

Users' files hold other things; what they look like is told with the remedy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.data.description import FARTHEST, FILE, ScanFormat
from benchmark.data.errors import DataError
from benchmark.data.point_loops import first_unusable

KITTIS = ScanFormat()
BYTES = 16
"""Of a point there: four little-endian float32."""
INTENSITIES = ("intensity", "reflectance", "reflectivity", "i")
"""Names that PCD files have for it."""
MOST_BYTES = 2**28
"""Of a file: 16 million points of KITTI's, a hundred times a scan's."""
MOST_STEPS = 65535
"""Highest value of a reflectance."""
ROUNDING = 1e-3
"""By how much a reflectance may leave 0..1; it is clipped."""
LIKELY = 0.99
"""Share of points that a layout must make sense for."""
LEAST_FINITE = 0.2
"""Share of points that are finite; organised clouds have others where nothing came back."""
MOST_FIELDS = 32
"""Numbers of a point."""
FLAT = 0.5
"""Spread in height, by that in the plane, of a scan."""


FORMATS = {
    b"\x93NUMPY": "a NumPy file under another name; "
    "numpy.load(FILE)[:, :4].astype('<f4').tofile(FILE)",
    b"# .PCD": "a PCD file under another name; write x, y, z, reflectance as float32",
    b"ply": "a PLY file under another name; write x, y, z, reflectance as float32",
    b"LASF": "a LAS file under another name; write x, y, z, reflectance as float32",
}
"""First bytes of other formats, and what is told."""


class Layout(NamedTuple):
    """What a file may hold: the type of its numbers, and how many are a point."""

    dtype: str
    fields: int

    def __str__(self) -> str:
        names = ["x y z", "x y z i", "x y z i ring", "x y z i ring time"]
        return f"{self.fields} {np.dtype(self.dtype).name} a point ({names[self.fields - 3]})"


USUAL = Layout("<f4", 4)
"""As KITTI's."""
LAYOUTS = [
    layout
    for fields in (5, 6, 4, 3)
    for layout in (Layout("<f4", fields), Layout("<f8", fields))
    if layout != USUAL
]


def read_scan(path: Path, held: ScanFormat = KITTIS) -> np.ndarray:
    """(n, 4) float32 points of a file; those that are not finite are left out, as organised clouds
    have them where nothing came back.

    Args:
        held: what the file holds.

    Raises:
        DataError: names the file, what it looks like and the remedy.
    """
    points = read_all_points(path, held)
    return points if first_unusable(points) < 0 else _mended(path, points, held)


def read_all_points(path: Path, held: ScanFormat = KITTIS) -> np.ndarray:
    """(n, 4) float32 points of a file as they are.

    Raises:
        DataError: as :func:`read_scan`.
    """
    _refuse_large(path)
    if held != KITTIS:
        return _described(path, held)
    data = _content(path)
    for magic, remedy in FORMATS.items():
        if data.startswith(magic):
            raise DataError(f"{path}: {remedy}")
    if len(data) % BYTES:
        raise DataError(
            f"{path}: {len(data)} bytes are not a whole number of points ({BYTES} bytes each: x, "
            f"y, z, reflectance as float32); {_advice(data) or 'it is truncated: add it again'}"
        )
    return np.frombuffer(data, "<f4").reshape(-1, 4).astype(np.float32)


def _content(path: Path) -> bytes:
    _refuse_large(path)
    return path.read_bytes()


def _refuse_large(path: Path) -> None:
    """Raise DataError for a file of more points than a scan can have, which memory may not hold."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise DataError(
            f"{path}: {size:,} bytes are no scan of one frame, over {MOST_BYTES:,}; add it again"
        )


def _described(path: Path, held: ScanFormat) -> np.ndarray:
    """The points of a file that is not as KITTI's."""
    table = {"bin": _bare, "npy": _numpy, "pcd": _pcd}[held.format](path, held)
    points = np.zeros((len(table), 4), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        points[:, : table.shape[1]] = table
        points[:, 3] /= held.reflectance
    return points


def _bare(path: Path, held: ScanFormat) -> np.ndarray:
    data, size = _content(path), np.dtype(held.dtype).itemsize * held.fields
    if len(data) % size:
        raise DataError(
            f"{path}: {len(data)} bytes are not a whole number of points of {held.fields} "
            f"{held.dtype}; correct points.fields or points.dtype in {FILE}, or add the file again"
        )
    numbers = np.frombuffer(data, np.dtype(held.dtype).newbyteorder("<"))
    return numbers.reshape(-1, held.fields)[:, :4]


def _numpy(path: Path, held: ScanFormat) -> np.ndarray:
    table = _array(path)
    if table.shape[1] != held.fields:
        raise DataError(
            f"{path}: an array {table.shape}, where points.fields of {FILE} asks for "
            f"(n, {held.fields}); correct points.fields, or the file"
        )
    return table[:, :4]


def _array(path: Path) -> np.ndarray:
    """(n, fields) numbers of a NumPy file."""
    try:
        table = np.load(path, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # whatever the library raises for a broken file
        told = str(error).partition("\n")[0]
        raise DataError(f"{path}: not a NumPy array of numbers ({told}); write it again") from None
    if not isinstance(table, np.ndarray) or table.dtype.kind not in "fiu" or table.ndim != 2:
        what = f"an array {table.shape} of {table.dtype}" if isinstance(table, np.ndarray) else ""
        raise DataError(
            f"{path}: {what or 'an archive of arrays'}; write one (n, fields) array of numbers, "
            "x, y, z and reflectance first"
        )
    rows, columns = table.shape
    if columns > MOST_FIELDS > rows > 2:
        raise DataError(f"{path}: an array {table.shape}, a column for each point; transpose it")
    if columns < 3:
        raise DataError(f"{path}: an array {table.shape}; write x, y, z and reflectance of a point")
    return table


def _pcd(path: Path, held: ScanFormat) -> np.ndarray:
    try:
        from pypcd4 import PointCloud
    except ImportError:
        raise DataError(f"{path}: reading PCD files takes pypcd4; pip install pypcd4") from None
    try:
        cloud = PointCloud.from_path(path)
    except OSError:
        raise
    except Exception as error:  # whatever the library raises for a broken file
        told = str(error).partition("\n")[0]
        raise DataError(f"{path}: not a PCD file ({told}); write it again") from None
    wanted = ["x", "y", "z", *(name for name in cloud.fields if name.lower() in INTENSITIES)]
    if lacking := {"x", "y", "z"} - set(cloud.fields):
        raise DataError(f"{path}: no field {', '.join(sorted(lacking))}; write x, y and z")
    table = cloud.numpy(wanted[:4])
    if len(table) != cloud.metadata.points:
        raise DataError(
            f"{path}: {len(table)} of {cloud.metadata.points} points; it is truncated: add it again"
        )
    return table


def guess_format(paths: Sequence[Path]) -> ScanFormat:
    """What files of points hold, by some of them.

    Raises:
        DataError: they look like nothing that can be read.
    """
    kind = paths[0].suffix[1:]
    if kind == "npy":
        held = ScanFormat(kind, fields=_array(paths[0]).shape[1])
    elif kind == "bin":
        layout = _guess_layout([_content(path) for path in paths])
        if layout is None:
            raise DataError(
                f"{paths[0]}: its numbers look like no layout of points known, in metres; write "
                f"points, with dtype and fields, and the rest of {FILE} by hand"
            )
        held = ScanFormat(kind, np.dtype(layout.dtype).name, layout.fields)
    else:
        held = ScanFormat(kind)
    every = np.concatenate([read_all_points(path, held)[:, 3] for path in paths])
    return replace(held, reflectance=_full_scale(every[np.isfinite(every)].max(initial=0)))


def _full_scale(highest: float) -> float:
    """The highest value of a sensor's reflectance, by the highest of some: 1, 255 or more bits."""
    if highest <= 1 + ROUNDING:
        return 1.0
    return float(2 ** max(8, math.ceil(math.log2(highest + 1))) - 1)


def _guess_layout(files: Sequence[bytes]) -> Layout | None:
    """The first layout that the first file looks like; or, where reflectance is neither within 1
    nor in whole steps, that all files look like."""
    every = [USUAL, *LAYOUTS]
    files = [data for data in files if data] or [b""]
    certain = next(_possible(files[0], every), None)
    if certain is not None:
        return certain
    likely = (set(_possible(data, every, in_steps=False)) for data in files)
    shared = set.intersection(*likely)
    return next((layout for layout in every if layout in shared), None)


def _mended(path: Path, points: np.ndarray, held: ScanFormat) -> np.ndarray:
    """The finite points, their reflectance clipped where rounding took it out of its range."""
    finite = points[np.isfinite(points).all(axis=1)]
    low, high = (finite[:, 3].min(), finite[:, 3].max()) if len(finite) else (0.0, 1.0)
    if low < -ROUNDING or high > 1 + ROUNDING:
        told = f"{path}: reflectance goes from {low:g} to {high:g}, not 0 to 1"
        raise DataError(f"{told}; {_for_reflectance(path, held, low, high)}")
    finite[:, 3] = finite[:, 3].clip(0, 1)
    return finite


def _for_reflectance(path: Path, held: ScanFormat, low: float, high: float) -> str:
    """What to do about numbers that are none; coordinates in its place would be negative too."""
    if low >= 0 and (scale := _scale(high)):
        return scale
    if held == KITTIS and (layout := _advice(_content(path))):
        return layout
    if low < 0:
        return f"correct points.fields or points.dtype in {FILE}, or the files"
    return f"write points.reflectance into {FILE}"


def _scale(high: float) -> str:
    """What to do where the highest value is a whole number of bits' or less."""
    steps = f"{_full_scale(high):g}"
    if float(steps) > MOST_STEPS:
        return ""
    return f"divide it by {steps}, or write 'points: {{reflectance: {steps}}}' into {FILE}"


def _advice(data: bytes) -> str:
    """What a file looks like, and how to convert it; nothing where it looks like nothing."""
    for layout in _possible(data):
        kind = np.dtype(layout.dtype).name
        cut = "[:, :4]" if layout.fields > 4 else ""
        pad = ", then add a reflectance of 0" if layout.fields == 3 else ""
        return (
            f"it looks like {layout}: numpy.fromfile(FILE, '{kind}').reshape(-1, {layout.fields})"
            f"{cut}.astype('<f4'){pad}; or write "
            f"'points: {{fields: {layout.fields}, dtype: {kind}}}' into {FILE}"
        )
    return ""


def _possible(
    data: bytes, layouts: Sequence[Layout] = LAYOUTS, in_steps: bool = True
) -> Iterator[Layout]:
    """Layouts in which nearly all points lie where a laser scanner sees, more widely spread in the
    plane than in height, and the fourth number is a reflectance: of 0 to 1 or, up to 65535, in
    whole steps, if asked for.

    In any other layout all columns hold a bit of everything and are spread alike.
    """
    for layout in layouts:
        size = np.dtype(layout.dtype).itemsize * layout.fields
        if not data or len(data) % size:
            continue
        table = np.frombuffer(data, layout.dtype).reshape(-1, layout.fields)
        finite = np.isfinite(table[:, :4]).all(axis=1)
        if finite.mean() < LEAST_FINITE:
            continue
        table = table[finite]
        with np.errstate(invalid="ignore", over="ignore"):
            seen = (np.abs(table[:, :3]) < FARTHEST).all(axis=1)
            if layout.fields > 3:
                seen &= (table[:, 3] >= 0) & (table[:, 3] <= MOST_STEPS)
                seen &= (not in_steps) | (table[:, 3] <= 1) | (table[:, 3] % 1 == 0)
        if seen.mean() >= LIKELY:
            x, y, z = table[seen, :3].std(axis=0)
            if min(x, y) > 1 and z < FLAT * max(x, y):
                yield layout
