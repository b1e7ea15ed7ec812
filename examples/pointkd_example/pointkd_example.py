"""A method in its own package; installing the package adds it to the benchmark."""

import torch
from torch.nn.functional import normalize

from kd_methods import KDMethod, register
from kd_methods.core.features import tables


@register("channel_mean", paper="an example", year=2026)
class ChannelMean(KDMethod):
    """The channel mean of the student's neck features has the teacher's pattern.

        L = mean_b || q(S_b) - q(T_b) ||_2^2,    q(A) = m(A)^exponent / || m(A)^exponent ||_2

    S_b and T_b are the neck features of frame b (cells of a map, or points), m is the mean over
    channels.

    Attributes:
        exponent: power of the channel mean.

    Source: none, an example to copy.
    """

    exponent: float = 1.0

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        frames = zip(tables(teacher.neck), tables(student.neck), strict=True)  # (n, C) each
        distances = [(self.pattern(t) - self.pattern(s)).square().sum() for t, s in frames]
        return {"pattern": torch.stack(distances).mean()}

    def pattern(self, features):
        return normalize(features.mean(1).pow(self.exponent), dim=0)
