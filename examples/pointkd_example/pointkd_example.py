"""A method in a package of its own; installing the package adds it to the benchmark."""

from torch.nn.functional import normalize

from kd_methods import KDMethod, register


@register("channel_mean", paper="an example", year=2026)
class ChannelMean(KDMethod):
    """The mean over channels of the neck's features has the teacher's pattern.

    Source: none, an example to copy.
    """

    exponent: float = 1.0

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        patterns = [
            normalize(outputs.neck.values.mean(1).pow(self.exponent).flatten(1), dim=1)
            for outputs in (teacher, student)
        ]
        return {"pattern": (patterns[0] - patterns[1]).square().sum(1).mean()}
