"""The built-in synthetic data set: scenes, shapes, a ray-cast sensor, and KITTI files of them."""

from benchmark.data.synthetic.generator import VERSION, ensure, generate

__all__ = ["VERSION", "ensure", "generate"]
