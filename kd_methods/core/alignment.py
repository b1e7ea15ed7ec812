"""A teacher of another family or grid than the student's: what can be compared, and how.

Features are brought to the student's maps: each of its stages meets the teacher's stage whose cells
are nearest in size, resampled where it lies. What is compared row by row has no counterpart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.catalogue import OUTPUTS
from kd_methods.core.interface import BEVMap, KDMethod, Maps, MethodError, Outputs, Spec
from kd_methods.core.registry import Composition


@dataclass(frozen=True)
class Alignment:
    """How a teacher's outputs are brought to a student's.

    Attributes:
        teacher, student: where their maps lie; None for a network whose features are points.
        related: whether they are of one family, so that weights may be inherited.
    """

    teacher: Maps | None
    student: Maps | None
    related: bool

    def check(self, method: KDMethod) -> None:
        """Raise :class:`MethodError` if a method compares what has no counterpart."""
        for part in method.parts if isinstance(method, Composition) else [method]:
            if told := self._obstacle(part):  # type: ignore[arg-type]
                raise MethodError(f"{part.name}: the teacher is of another family or grid; {told}")

    def spec(self, teacher: Spec) -> Spec:
        """The teacher's layers that the student's are compared with."""
        if self.teacher is None or self.student is None:
            return teacher
        return replace(teacher, stages=[teacher.stages[i] for i in self._stages])

    def outputs(self, teacher: Outputs) -> Outputs:
        """The teacher's outputs, its maps as seen by the student."""
        captured: dict[str, Any] = {k: v for k, v in vars(teacher).items() if k in OUTPUTS}
        if self.student is not None and "stages" in captured:
            pairs = zip(self._stages, self.student.stages, strict=True)
            captured["stages"] = [self._resampled(captured["stages"][i], s) for i, s in pairs]
        if self.student is not None and "neck" in captured:
            captured["neck"] = self._resampled(captured["neck"], self.student.neck)
        return Outputs(lambda: teacher.detections, **captured)

    def _obstacle(self, method: KDMethod) -> str:
        """Why a method does not suit, or nothing."""
        needs = {name.partition(":")[0] for name in method.needs()}
        if "local" in needs:
            return "local features are compared row by row, and its rows are others"
        if "head" in needs and not method.by_place:
            return "boxes are compared prior by prior, and its priors are others"
        if needs & {"stages", "neck"} and (self.teacher is None or self.student is None):
            return "features of maps have no counterpart among those of points"
        if not self.related and type(method).initialise is not KDMethod.initialise:
            return "weights are inherited from a network of the same layers only"
        return ""

    @cached_property
    def _stages(self) -> Sequence[int]:
        """For each of the student's stages the teacher's whose cells are nearest in size."""
        assert self.teacher is not None
        assert self.student is not None
        theirs = [math.log(self.teacher.side(stride)) for stride in self.teacher.stages]
        ours = [math.log(self.student.side(stride)) for stride in self.student.stages]
        return [min(range(len(theirs)), key=lambda i: abs(theirs[i] - size)) for size in ours]

    def _resampled(self, features: BEVMap, stride: int) -> BEVMap:
        """A teacher's map at the centres of the cells of a student's map."""
        assert self.student is not None
        places = self._places(features, stride).expand(len(features.values), -1, -1, -1)

        def sampled(values: Tensor) -> Tensor:
            return F.grid_sample(values, places, padding_mode="border", align_corners=False)

        before = None if features.pre_relu is None else sampled(features.pre_relu)
        return BEVMap(sampled(features.values), stride, self.student.extent, before)

    def _places(self, features: BEVMap, stride: int) -> Tensor:
        """(1, H, W, 2) where the student's cells lie on the teacher's map, from -1 to 1."""
        assert self.student is not None
        sides = []
        for axis in (0, 1):
            low, high = self.student.extent[axis], self.student.extent[axis + 2]
            start, end = features.extent[axis], features.extent[axis + 2]
            count = self.student.cells[axis] // stride
            centres = low + (torch.arange(count, dtype=torch.double) + 0.5) * (high - low) / count
            sides.append((2 * (centres - start) / (end - start) - 1).to(features.values))
        y, x = torch.meshgrid(sides[1], sides[0], indexing="ij")
        return torch.stack([x, y], dim=-1)[None]
