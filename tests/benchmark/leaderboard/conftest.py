"""Records as a run would leave them, without a run."""

import pytest
from made_records import make_ap, make_record


@pytest.fixture(scope="session")
def ap():
    return make_ap


@pytest.fixture(scope="session")
def record():
    """Makes a record: ``record(method, seed, mean, student, status, **fields)``."""
    return make_record
