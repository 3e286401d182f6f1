"""LightGBM on the training part: deterministic, stopped early on its newest tenth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Final

import numpy as np

from models.features import FEATURES
from training.dataset import Dataset, Floats

ROUNDS: Final = 300
FEW_ROUNDS: Final = 60  # without a part to stop on
PATIENCE: Final = 30
STOP_SHARE: Final = 0.1
ENOUGH_TO_STOP: Final = 500  # episodes below which a tenth says nothing
LEAST_ROUNDS: Final = 20
GRID: Final = (
    {"num_leaves": 8, "learning_rate": 0.05},
    {"num_leaves": 4, "learning_rate": 0.1},
    {"num_leaves": 15, "learning_rate": 0.05},
    {"num_leaves": 31, "learning_rate": 0.05},
)
RISING: Final = ("_last_label", "_false_share")  # more votes for noise never make it less of it
CLOCKS: Final = ("_votes",)  # how many votes there were tells when an alert was, not what it is


@dataclass(frozen=True)
class Fitted:
    model: str  # LightGBM's text
    rounds: int
    parameters: dict[str, Any]
    importance: dict[str, float]  # share of the gain by feature
    stopped_loss: float | None = None  # on the part that stopped it


def fit(train: Dataset, *, seed: int, search: bool = False, threads: int = 1) -> Fitted:
    """The best of a small grid with `search`, else its first; the same data and seed give the same text."""
    if not search or len(train) < ENOUGH_TO_STOP:
        return _fit(train, GRID[0], seed, threads)
    from joblib import Parallel, delayed  # noqa: PLC0415 -- only where it is asked for

    # Threads, not processes: LightGBM lets go of the interpreter's lock, and nothing needs copying.
    found = Parallel(n_jobs=threads, prefer="threads")(delayed(_fit)(train, choice, seed, 1) for choice in GRID)
    best: Fitted = min(found, key=lambda fitted: fitted.stopped_loss if fitted.stopped_loss is not None else np.inf)
    return best


def parameters(rows: int, seed: int, threads: int) -> dict[str, Any]:
    """What does not depend on the search; leaves shrink with the data, so that sixty votes can teach something."""
    return {
        "objective": "cross_entropy",  # takes soft labels
        "min_data_in_leaf": max(2, min(60, rows // 12)),
        "min_data_in_bin": 1 if rows < ENOUGH_TO_STOP else 3,
        "feature_fraction": 0.5,
        "monotone_constraints": [1 if name.endswith(RISING) else 0 for name in FEATURES],
        "feature_contri": [0.0 if name.endswith(CLOCKS) else 1.0 for name in FEATURES],
        "bagging_fraction": 0.7 if rows >= ENOUGH_TO_STOP else 1.0,
        "bagging_freq": 1,
        "lambda_l2": 20.0 if rows >= ENOUGH_TO_STOP else 1.0,
        "feature_pre_filter": False,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "seed": seed,
        "verbosity": -1,
    }


def _fit(train: Dataset, choice: dict[str, Any], seed: int, threads: int) -> Fitted:
    settings = parameters(len(train), seed, threads) | choice
    cut = len(train) - int(STOP_SHARE * len(train)) if len(train) >= ENOUGH_TO_STOP else len(train)
    booster, curve = boost(train, train.weight, settings, cut, ROUNDS if cut < len(train) else FEW_ROUNDS)
    rounds = max(LEAST_ROUNDS, booster.best_iteration) if booster.best_iteration > 0 else booster.current_iteration()
    rounds = min(rounds, booster.current_iteration())
    gain: Floats = np.asarray(booster.feature_importance("gain", iteration=rounds), dtype=np.float64)
    shares = gain / gain.sum() if gain.sum() > 0 else gain
    return Fitted(
        booster.model_to_string(num_iteration=rounds),
        rounds,
        settings,
        dict(zip(FEATURES, (float(share) for share in shares), strict=True)),
        min(curve) if curve else None,
    )


@singledispatch
def boost(
    train: Dataset, weight: Floats, settings: dict[str, Any], cut: int, rounds: int, base: Any = None
) -> tuple[Any, list[float]]:
    """(booster, log-loss after each round) of at most `rounds` trees on the first `cut` episodes, after those of `base`.

    The episodes from `cut` on stop it: its `best_iteration` has the least loss on them. Without such a part there are
    no losses. How it is done depends on where the dataset is: another class of it registers its own way.
    """
    import lightgbm  # noqa: PLC0415 -- heavy, and needs libgomp: only where a model is made

    data = _data(train, weight, slice(cut))
    if cut == len(train):
        return lightgbm.train(settings, data, rounds, init_model=base), []
    losses: dict[str, Any] = {}
    stop: list[Any] = [lightgbm.early_stopping(PATIENCE, verbose=False), lightgbm.record_evaluation(losses)]
    newest = _data(train, weight, slice(cut, None), data)
    booster = lightgbm.train(settings, data, rounds, valid_sets=[newest], callbacks=stop, init_model=base)
    return booster, [float(loss) for loss in losses["valid_0"]["cross_entropy"]]


def _data(dataset: Dataset, weight: Floats, part: slice, reference: Any = None) -> Any:
    import lightgbm  # noqa: PLC0415 -- as above

    return lightgbm.Dataset(
        dataset.x[part], dataset.label[part], weight=weight[part], feature_name=list(FEATURES), reference=reference,
        free_raw_data=False,
    )  # fmt: skip
