from __future__ import annotations

import pytest

from tests.unit.training.history import taught
from training.job import Result, run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """(result, folder, statistics, time) of a run on 200 episodes."""
    folder = tmp_path_factory.mktemp("trained") / "artifact"
    rows, votes, statistics, at = taught(200)
    result: Result = run(rows, votes, now=at + 60.0, folder=folder, min_votes=50)
    return result, folder, statistics, at
