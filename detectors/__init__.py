"""Detector families: mmdet3d's own models at any width and grid, and how to read their outputs."""

from detectors.core.family import (
    CLASSES,
    DetectorError,
    Family,
    Grid,
    Inputs,
    get_family,
    grid_settings,
    parse_student,
    read_grid,
    student_name,
)

__all__ = [
    "CLASSES",
    "DetectorError",
    "Family",
    "Grid",
    "Inputs",
    "get_family",
    "grid_settings",
    "parse_student",
    "read_grid",
    "student_name",
]
