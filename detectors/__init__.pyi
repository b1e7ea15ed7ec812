from .core.added import load_detectors as load_detectors, register_family as register_family
from .core.family import Family as Family, Inputs as Inputs
from .core.grid import (
    CLASSES as CLASSES,
    DetectorError as DetectorError,
    Grid as Grid,
    grid_settings as grid_settings,
    read_grid as read_grid,
)
from .core.registry import (
    Student as Student,
    get_family as get_family,
    parse_student as parse_student,
)
