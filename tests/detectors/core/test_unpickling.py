"""The unpickler that PyTorch before 2.6 is lent; any PyTorch reads the same with it."""

import io
import pickle

import pytest
import torch
from mmengine.logging import HistoryBuffer

from detectors.core.unpickling import _Unpickler, _with_our_unpickler


def read(content, **options):
    """Save a checkpoint and load it."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    buffer.seek(0)
    with _with_our_unpickler():
        return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_read_and_the_log_is_not(zipped):
    log = HistoryBuffer()
    log.update(3.0)
    weights = torch.nn.BatchNorm1d(3).half().state_dict()
    content = {"state_dict": weights, "meta": {"epoch": 3, "time": 2.5}, "message_hub": {"a": log}}
    found = read(content, _use_new_zipfile_serialization=zipped)
    assert found["meta"] == content["meta"]
    assert found["state_dict"].keys() == weights.keys()
    assert all(torch.equal(found["state_dict"][name], value) for name, value in weights.items())


class Calls:
    def __reduce__(self):
        return print, ("this must not run",)


def test_nothing_else_is_called(capsys):
    with pytest.raises(pickle.UnpicklingError, match="GLOBAL __builtin__.print"):
        read({"state_dict": Calls()})
    assert not capsys.readouterr().out


def test_what_may_be_called_takes_no_state():
    written = b"\x80\x02ctorch._utils\n_rebuild_tensor\n}X\x07\x00\x00\x00changedK\x01sb."
    with pytest.raises(pickle.UnpicklingError, match="may not be given a state"):
        _Unpickler(io.BytesIO(written)).load()
    assert not hasattr(torch._utils._rebuild_tensor, "changed")


def test_pytorchs_own_unpickler_is_back():
    theirs = torch._weights_only_unpickler.Unpickler
    with pytest.raises(pickle.UnpicklingError):
        read(Calls())
    assert torch._weights_only_unpickler.Unpickler is theirs
