"""nuScenes' own evaluator (nuscenes-devkit) on labels; importing it takes seconds."""

import math

import numpy as np
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.data_classes import DetectionBox

CONFIG = config_factory("detection_cvpr_2019")
NAMES = {"Car": "car", "Pedestrian": "pedestrian", "Cyclist": "bicycle"}
ERRORS = ("trans_err", "scale_err", "orient_err")


def evaluate(gt, det):
    """AP in percent (3 classes, 4 distances) and errors (3 classes, 3), 1 where undefined."""
    boxes = eval_boxes(gt), eval_boxes(det)
    ap, errors = [], []
    for name in NAMES.values():
        curves = {
            reach: accumulate(*boxes, name, CONFIG.dist_fcn_callable, reach)
            for reach in CONFIG.dist_ths
        }
        ap.append(
            [100 * calc_ap(c, CONFIG.min_recall, CONFIG.min_precision) for c in curves.values()]
        )
        curve = curves[CONFIG.dist_th_tp]
        errors.append([calc_tp(curve, CONFIG.min_recall, error) for error in ERRORS])
    return np.array(ap), np.array(errors)


def eval_boxes(frames):
    """The objects of KITTI's three classes, in axes with z up."""
    boxes = EvalBoxes()
    for i, frame in enumerate(frames):
        mine = [o for o in range(len(frame)) if frame.name[o] in NAMES]
        boxes.add_boxes(str(i), [_box(frame, o, str(i)) for o in mine])
    return boxes


def _box(frame, o, token):
    x, y, z = frame.location[o].tolist()
    height, width, length = frame.dimensions[o].tolist()
    half = (-frame.rotation_y[o] - math.pi / 2) / 2
    return DetectionBox(
        sample_token=token,
        translation=(z, -x, -y + height / 2),
        size=(width, length, height),
        rotation=(math.cos(half), 0.0, 0.0, math.sin(half)),
        detection_name=NAMES[str(frame.name[o])],
        detection_score=-1.0 if frame.score is None else float(frame.score[o]),
    )
