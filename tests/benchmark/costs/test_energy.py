"""Energy counters, on files like RAPL's."""

import pytest
import torch

from benchmark.costs import measure
from benchmark.costs.energy import read_joules

CPU = torch.device("cpu")


@pytest.fixture
def zones(tmp_path):
    """Two packages and a part of the first."""
    for name, count in (("intel-rapl:0", 1_500_000), ("intel-rapl:0:0", 9), ("intel-rapl:1", 500)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{count}\n")
    return tmp_path


def test_packages_are_summed_without_their_parts(zones):
    assert read_joules(CPU, zones) == pytest.approx(1.5005)


def test_what_cannot_be_read_is_absent(zones, tmp_path_factory):
    assert read_joules(CPU, tmp_path_factory.mktemp("empty")) is None
    (zones / "intel-rapl:1" / "energy_uj").unlink()
    assert read_joules(CPU, zones) is None


@pytest.mark.parametrize(
    ("counts", "expected"), [((10.0, 16.0), 2.0), ((None, None), None), ((9.0, 1.0), None)]
)
def test_energy_is_per_frame_and_absent_when_the_counter_begins_anew(counts, expected, monkeypatch):
    class Deployed:
        device = CPU
        seen = 0

        def detect(self, batch):
            self.seen += batch

    deployed, left = Deployed(), list(counts)
    monkeypatch.setattr(measure, "read_joules", lambda device: left.pop(0))
    assert measure.energy(deployed, [1, 1, 1]) == expected
    assert deployed.seen == 3
