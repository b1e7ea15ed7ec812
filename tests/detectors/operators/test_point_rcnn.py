"""mmdet3d's PointRCNN, from its installed config, trains and predicts on our operators."""

from pathlib import Path

import mmdet3d
import mmdet3d.models  # noqa: F401
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

CONFIG = Path(mmdet3d.__file__).parent / ".mim/configs/_base_/models/point_rcnn.py"
POINTS = 1024


@pytest.fixture(scope="module")
def model():
    config = Config.fromfile(str(CONFIG)).model
    config.backbone.num_points = (256, 64, 32, 16)
    config.roi_head.bbox_roi_extractor.roi_layer.num_sampled_points = 64
    config.roi_head.bbox_head.num_points = (32, 16, -1)
    config.train_cfg.rcnn.sampler.num = 16
    config.test_cfg.rpn.nms_cfg.nms_post = 40
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return MODELS.build(config)


def frames():
    """Two clouds around two objects each; the samples are new, since a loss changes them."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[8.0, 0, -1.7, 3.9, 1.6, 1.5, 0.3], [5.0, 3, -1.7, 0.8, 0.6, 1.7, 0.0]])
    around = boxes[torch.arange(POINTS) % 2, :3]
    points, samples = [], []
    for _ in range(2):
        noise = torch.randn(POINTS, 3, generator=generator)
        points.append(torch.cat([around + noise, torch.rand(POINTS, 1, generator=generator)], 1))
        truth = InstanceData(labels_3d=torch.tensor([2, 0]))
        truth.bboxes_3d = LiDARInstance3DBoxes(boxes.clone())
        sample = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes})
        sample.gt_instances_3d = truth
        samples.append(sample)
    return {"points": points}, samples


def test_backbone_neck_and_pooling_pass_gradients(model):
    clouds = torch.stack(frames()[0]["points"])
    features = model.train().neck(model.backbone(clouds))
    assert features["fp_features"].shape == (2, 128, POINTS)
    pooled, empty = model.roi_head.bbox_roi_extractor.roi_layer(
        features["fp_xyz"],
        features["fp_features"].detach().transpose(1, 2),
        torch.stack([s.gt_instances_3d.bboxes_3d.tensor for s in frames()[1]]),
    )
    assert not empty.any()
    assert torch.isfinite(pooled).all()
    features["fp_features"].square().mean().backward()
    for part in (model.backbone, model.neck):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in part.parameters())
    model.zero_grad()


def test_training_reaches_every_weight(model):
    losses = model.train().loss(*frames())
    assert len(losses) == 5
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    model.zero_grad()


def test_prediction_is_the_same_every_time(model):
    model.eval()
    with torch.no_grad():
        first, again = (model.predict(*frames()) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        found = a.pred_instances_3d
        assert len(found.scores_3d) > 0
        assert torch.isfinite(found.bboxes_3d.tensor).all()
        assert torch.equal(found.bboxes_3d.tensor, b.pred_instances_3d.bboxes_3d.tensor)
