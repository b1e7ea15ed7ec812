"""Point clouds of one file each: four float32 a point, x, y, z in metres and reflectance 0..1.

Users' files hold other things; what they look like is told with the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.data.errors import DataError
from benchmark.data.point_loops import first_unusable

BYTES = 16
"""Of a point: four little-endian float32."""
ROUNDING = 1e-3
"""By how much a reflectance may leave 0..1; it is clipped."""
FARTHEST = 500.0
"""Metres; a laser scan is hardly larger."""
LIKELY = 0.99
"""Share of points that a layout must make sense for."""
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


LAYOUTS = [Layout(kind, fields) for fields in (5, 6, 4, 3) for kind in ("<f4", "<f8")]


def read_scan(path: Path) -> np.ndarray:
    """(n, 4) float32 points of a file; those that are not finite are left out, as organised clouds
    have them where nothing came back.

    Raises:
        DataError: names the file, what it looks like and the remedy.
    """
    data = path.read_bytes()
    for magic, remedy in FORMATS.items():
        if data.startswith(magic):
            raise DataError(f"{path}: {remedy}")
    if len(data) % BYTES:
        raise DataError(
            f"{path}: {len(data)} bytes are not a whole number of points ({BYTES} bytes each: x, "
            f"y, z, reflectance as float32); {_advice(data) or 'it is truncated: add it again'}"
        )
    points = np.frombuffer(data, "<f4").reshape(-1, 4).astype(np.float32)
    if first_unusable(points) < 0:
        return points
    return _mended(path, data, points)


def _mended(path: Path, data: bytes, points: np.ndarray) -> np.ndarray:
    """The finite points, their reflectance clipped where rounding took it out of its range."""
    finite = points[np.isfinite(points).all(axis=1)]
    low, high = (finite[:, 3].min(), finite[:, 3].max()) if len(finite) else (0.0, 1.0)
    if low < -ROUNDING or high > 1 + ROUNDING:
        remedy = (low >= 0 and _scale(high)) or _advice(data) or "write it as 0 to 1"
        raise DataError(f"{path}: reflectance goes from {low:g} to {high:g}, not 0 to 1; {remedy}")
    finite[:, 3] = finite[:, 3].clip(0, 1)
    return finite


def _scale(high: float) -> str:
    """Coordinates in its place would be negative too."""
    return next((f"divide it by {steps}" for steps in (255, 65535) if high <= steps), "")


def _advice(data: bytes) -> str:
    """What a file looks like, and how to convert it; nothing where it looks like nothing."""
    for layout in _possible(data):
        kind = np.dtype(layout.dtype).name
        cut = "[:, :4]" if layout.fields > 4 else ""
        pad = ", then add a reflectance of 0" if layout.fields == 3 else ""
        return (
            f"it looks like {layout}: numpy.fromfile(FILE, '{kind}').reshape(-1, {layout.fields})"
            f"{cut}.astype('<f4'){pad}"
        )
    return ""


def _possible(data: bytes) -> Iterator[Layout]:
    """Layouts in which nearly all points lie where a laser scanner sees, more widely spread in the
    plane than in height, and the fourth number is a reflectance of 0 to 1 or of whole steps.

    In any other layout all columns hold a bit of everything and are spread alike.
    """
    for layout in LAYOUTS:
        size = np.dtype(layout.dtype).itemsize * layout.fields
        if layout == Layout("<f4", 4) or not data or len(data) % size:
            continue
        table = np.frombuffer(data, layout.dtype).reshape(-1, layout.fields)
        with np.errstate(invalid="ignore", over="ignore"):
            seen = (np.abs(table[:, :3]) < FARTHEST).all(axis=1)
            if layout.fields > 3:
                steps = (table[:, 3] <= 1) | (table[:, 3] % 1 == 0)
                seen &= steps & (table[:, 3] >= 0) & (table[:, 3] <= 255)
        if seen.mean() >= LIKELY:
            x, y, z = table[seen, :3].std(axis=0)
            if min(x, y) > 1 and z < FLAT * max(x, y):
                yield layout
