from __future__ import annotations

import random

import lightgbm
import numpy as np
import pytest

from models.artifact import Trained
from models.features import FEATURES


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A small model of random numbers: false positives have a high first feature."""
    draw = random.Random(1)
    rows = np.array([[draw.uniform(-1, 50) for _ in FEATURES] for _ in range(200)])
    data = lightgbm.Dataset(rows, (rows[:, 0] > 25).astype(float), feature_name=list(FEATURES))
    settings = {"objective": "cross_entropy", "verbosity": -1, "num_threads": 1, "seed": 1, "deterministic": True}
    return Trained(
        model=lightgbm.train(settings | {"force_row_wise": True}, data, 10).model_to_string(),
        slope=2.0,
        offset=-0.5,
        window=(1_790_000_000.0, 1_790_086_400.0),
        data_hash="0" * 64,
        metrics={"roc_auc": 1.0},
        libraries={"lightgbm": lightgbm.__version__},
        golden_rows=[tuple(row) for row in rows[:5].tolist()],
        created_at=1_790_100_000.0,
    )
