"""A method in its own package; installing the package adds it to the benchmark."""

from torch.nn.functional import normalize

from kd_methods import KDMethod, register


@register("channel_mean", paper="an example", year=2026)
class ChannelMean(KDMethod):
    """The channel mean of the student's neck features has the teacher's pattern.

        L = mean_b || q(S_b) - q(T_b) ||_2^2,    q(A) = m(A)^exponent / || m(A)^exponent ||_2

    S_b and T_b are the neck features of frame b, m is the mean over channels.

    Attributes:
        exponent: power of the channel mean.

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
