"""Records as if some of their classes were all."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.evaluation.protocol import MEAN, classes_of, mean_of
from benchmark.records.record import Record
from kd_methods.core.errors import PointKDError, suggestion


class ClassError(PointKDError):
    """A class that records have no figures of."""


def of_classes(records: Sequence[Record], classes: Sequence[str]) -> list[Record]:
    """Records with the figures of some classes, and means over these.

    Raises:
        ClassError: no record has figures of one of them.
    """
    known = list(dict.fromkeys(name for r in records if r["ap"] for name in classes_of(r["ap"])))
    for name in classes:
        if name not in known:
            raise ClassError(
                f"--classes: no figures of class {name!r}{suggestion(name, known)}; the records "
                f"have {', '.join(known) or 'none'}"
            )
    return [_restricted(record, classes) for record in records]


def _restricted(record: Record, classes: Sequence[str]) -> Record:
    ap = record["ap"]
    if not ap:
        return record
    kept = [name for name in classes_of(ap) if name in classes]
    return {**record, "ap": {name: ap[name] for name in kept} | {MEAN: mean_of(ap, kept)}}
