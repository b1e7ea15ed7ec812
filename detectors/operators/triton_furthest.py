"""Furthest point sampling on CUDA: all steps of a frame in one Triton program.

Annotations are evaluated: the interpreter of Triton 3.1 knows ``tl.constexpr`` by nothing else.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.torch_version import TorchVersion

if TorchVersion(triton.__version__) < "2.2":
    raise ImportError("Triton below 2.2 rounds as it likes: it cannot be told not to fuse products")


def furthest_points(xyz: Tensor, count: int) -> Tensor:
    """(B, count) points (B, N, 3), each the furthest from those before; the first is 0."""
    frames, n = xyz.shape[:2]
    columns = xyz.detach().float().transpose(1, 2).contiguous()
    chosen = torch.zeros(frames, count, dtype=torch.int, device=xyz.device)
    block = triton.next_power_of_2(n)
    with torch.cuda.device_of(xyz):
        _sample[(frames,)](
            columns,
            chosen,
            n,
            COUNT=count,
            BLOCK=block,
            num_warps=min(16, max(1, block // 32)),
            enable_fp_fusion=False,
        )
    return chosen.long()


@triton.jit
def _sample(xyz, chosen, n, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """One frame: xyz (3, n), chosen (COUNT,) zero. A lane without a point is never the furthest."""
    xyz += tl.program_id(0) * 3 * n
    chosen += tl.program_id(0) * COUNT
    lane = tl.arange(0, BLOCK)
    real = lane < n
    x = tl.load(xyz + lane, mask=real, other=0.0)
    y = tl.load(xyz + n + lane, mask=real, other=0.0)
    z = tl.load(xyz + 2 * n + lane, mask=real, other=0.0)
    nearest = tl.where(real, float("inf"), -1.0)
    last = 0
    for step in range(1, COUNT):
        dx = x - tl.load(xyz + last)
        dy = y - tl.load(xyz + n + last)
        dz = z - tl.load(xyz + 2 * n + last)
        nearest = tl.minimum(nearest, dx * dx + dy * dy + dz * dz)
        last = tl.minimum(tl.argmax(nearest, axis=0), n - 1)  # whatever the coordinates are
        tl.store(chosen + step, last)
