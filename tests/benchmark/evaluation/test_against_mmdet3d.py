"""The same precision as mmdet3d's evaluator, an implementation that is not ours.

Its overlaps from above and in space need a CUDA GPU; shapely's take their place here.
"""

import importlib.util
from types import ModuleType

import numpy as np
import pytest
from devkit_reference import Thing, ground_overlap, space_overlap
from kitti_cases import random_scenes

from benchmark.data.labels import Labels
from benchmark.evaluation.kitti_ap import evaluate
from benchmark.evaluation.protocol import STRICT


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    """mmdet3d's module alone: its package needs compiled operators to be imported."""
    package = importlib.util.find_spec("mmdet3d")
    assert package is not None
    assert package.submodule_search_locations
    path = f"{package.submodule_search_locations[0]}/evaluation/functional/kitti_utils/eval.py"
    spec = importlib.util.spec_from_file_location("mmdet3d_kitti_eval", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def annotation(labels: Labels) -> dict[str, np.ndarray]:
    """mmdet3d's dictionary; its dimensions are length, height, width."""
    return {
        "name": labels.name,
        "truncated": labels.truncation,
        "occluded": labels.occlusion,
        "alpha": labels.alpha,
        "bbox": labels.bbox,
        "dimensions": labels.dimensions[:, [2, 0, 1]],
        "location": labels.location,
        "rotation_y": labels.rotation_y,
        "score": np.zeros(len(labels)) if labels.score is None else labels.score,
    }


def overlaps(function, boxes: np.ndarray, others: np.ndarray, criterion: int = -1) -> np.ndarray:
    def thing(box: np.ndarray) -> Thing:
        x, y, z, length, h, w, ry = box.tolist()
        return Thing("Car", 0, 0, 0, [0] * 4, h, w, length, x, y, z, ry)

    found = [[function(thing(a), thing(b), criterion) for b in others] for a in boxes]
    return np.array(found).reshape(len(boxes), len(others))


def flat(boxes: np.ndarray) -> np.ndarray:
    """x, z, length, width, ry with a height."""
    x, z, length, w, ry = boxes.T
    one = np.ones_like(x)
    return np.stack([x, one, z, length, one, w, ry], 1)


@pytest.mark.filterwarnings("ignore")
def test_equals_mmdet3d(theirs, monkeypatch):
    monkeypatch.setattr(
        theirs, "bev_box_overlap", lambda a, b: overlaps(ground_overlap, flat(a), flat(b))
    )
    monkeypatch.setattr(theirs, "d3_box_overlap", lambda a, b: overlaps(space_overlap, a, b))
    gt, det = random_scenes(np.random.default_rng(5), 80)
    annotations = [annotation(frame) for frame in gt], [annotation(frame) for frame in det]
    ours = evaluate(gt, det)
    assert np.nanmin(ours.objects) > 0
    least = np.array([[r.bbox, r.boxes, r.boxes] for r in STRICT]).T[None]
    for m in range(3):
        found = theirs.eval_class(
            *annotations, [0, 1, 2], [0, 1, 2], m, least, compute_aos=m == 0, num_parts=80
        )
        np.testing.assert_allclose(ours.precision[:, m], found["precision"][:, :, 0], atol=1e-9)
        if m == 0:
            similarity = found["orientation"][:, :, 0]
            np.testing.assert_allclose(ours.precision[:, 3], similarity, atol=1e-9)
