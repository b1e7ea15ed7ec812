import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from kd_methods import BEVMap, Maps, MethodError, Outputs, create
from kd_methods.core.alignment import Alignment
from kd_methods.core.interface import Layer, Spec

SECOND = Maps((0, -40, 70.4, 40), (1408, 1600), (8, 16), 8)
PILLARS = Maps((0, -39.68, 69.12, 39.68), (432, 496), (2, 4, 8), 2)


def centres(low, high, count):
    return low + (np.arange(count) + 0.5) * (high - low) / count


def bev(maps, stride, seed=0, channels=3):
    torch.manual_seed(seed)
    nx, ny = (side // stride for side in maps.cells)
    values = torch.rand(2, channels, ny, nx)
    return BEVMap(values, stride, maps.extent, values - 1)


def interpolated(features, maps, stride):
    """By scipy, in metres; constant beyond the outermost centres."""
    x0, y0, x1, y1 = features.extent
    height, width = features.values.shape[2:]
    x, y = centres(x0, x1, width), centres(y0, y1, height)
    a0, b0, a1, b1 = maps.extent
    to_x = centres(a0, a1, maps.cells[0] // stride).clip(x[0], x[-1])
    to_y = centres(b0, b1, maps.cells[1] // stride).clip(y[0], y[-1])
    at = np.stack(np.meshgrid(to_y, to_x, indexing="ij"), axis=-1)
    values = features.values.double().numpy()
    found = [[RegularGridInterpolator((y, x), plane)(at) for plane in frame] for frame in values]
    return torch.from_numpy(np.array(found))


@pytest.mark.parametrize(("theirs", "ours"), [(SECOND, PILLARS), (PILLARS, SECOND)])
def test_a_map_is_interpolated_where_the_students_cells_lie(theirs, ours):
    neck = bev(theirs, theirs.neck)
    seen = Alignment(theirs, ours, related=False).outputs(Outputs(list, neck=neck)).neck
    assert seen.stride == ours.neck
    assert seen.extent == ours.extent
    expected = interpolated(neck, ours, ours.neck)
    torch.testing.assert_close(seen.values.double(), expected, rtol=0, atol=2e-4)
    torch.testing.assert_close(seen.pre_relu, seen.values - 1, rtol=0, atol=1e-5)


def test_each_stage_meets_the_one_whose_cells_are_nearest_in_size():
    """The student's are 0.32, 0.64 and 1.28 m wide, the teacher's 0.4 and 0.8 m."""
    layers = [Layer(channels, dense=True) for channels in (7, 9)]
    spec = Spec(Layer(1, dense=False), layers, Layer(1, dense=True), 3)
    alignment = Alignment(SECOND, PILLARS, related=False)
    assert [stage.channels for stage in alignment.spec(spec).stages] == [7, 9, 9]
    stages = [bev(SECOND, stride, stride, c) for stride, c in zip((8, 16), (7, 9), strict=True)]
    seen = alignment.outputs(Outputs(list, stages=stages)).stages
    assert [tuple(stage.values.shape[1:]) for stage in seen] == [
        (7, 248, 216), (9, 124, 108), (9, 62, 54)
    ]  # fmt: skip


def test_an_equal_map_stays_as_it_is():
    neck = bev(PILLARS, 2)
    seen = Alignment(PILLARS, PILLARS, related=True).outputs(Outputs(list, neck=neck)).neck
    torch.testing.assert_close(seen.values, neck.values, rtol=0, atol=1e-4)


def test_detections_and_heads_pass_unchanged():
    head = object()
    seen = Alignment(SECOND, PILLARS, related=False).outputs(Outputs(lambda: ["found"], head=head))
    assert seen.head is head
    assert seen.detections == ["found"]


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("point_distiller", "local features are compared row by row"),
        ("logit_kd", "boxes are compared prior by prior"),
        ("fitnet+logit_kd", "^logit_kd: .*prior by prior"),
        ("sparsekd_tgi", "weights are inherited"),
    ],
)
def test_what_has_no_counterpart_is_refused(method, told):
    with pytest.raises(MethodError, match=told):
        Alignment(SECOND, PILLARS, related=False).check(create(method, "pointpillars@4"))


@pytest.mark.parametrize("method", ["fitnet", "mimic", "sparsekd_label", "se_ssd", "fg+overhaul"])
def test_what_is_compared_by_place_is_taken(method):
    Alignment(SECOND, PILLARS, related=False).check(create(method, "pointpillars@4"))


def test_maps_have_no_counterpart_among_points():
    alignment = Alignment(SECOND, None, related=False)
    with pytest.raises(MethodError, match="no counterpart among those of points"):
        alignment.check(create("fitnet", "pointrcnn@8"))
    alignment.check(create("sparsekd_label", "pointrcnn@8"))


def test_weights_are_inherited_within_a_family():
    Alignment(PILLARS, PILLARS, related=True).check(create("sparsekd_tgi", "pointpillars@4"))
