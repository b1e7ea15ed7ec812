"""A detector in a package of its own, registered by its entry point."""

from detectors import register_family
from detectors.core.voxelnet import VoxelNet

CONFIG = "pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"


@register_family("slim_pillars", config=CONFIG, like="pointpillars")
class SlimPillars(VoxelNet):
    """PointPillars with half as many layers in each stage of the backbone. Source: an example."""

    def base_config(self):
        config = super().base_config()
        layers = config["backbone"]["layer_nums"]
        config["backbone"]["layer_nums"] = [count // 2 for count in layers]
        return config
