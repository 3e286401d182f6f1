"""LightGBM on the training part, from the bundled prior on: deterministic, stopped early on its newest tenth.

The prior's log-odds, scaled to the labels at hand, are where boosting begins, so that a week of votes changes what is
known of alerts in general instead of starting from nothing. With few labels a leaf needs a quarter of them, so that the
order of what nobody voted on stays much as the prior has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, Final

import numpy as np

from models.features import FEATURES
from models.prior import Prior
from training import calibrate
from training.dataset import Dataset, Floats

ROUNDS: Final = 90
FEW_ROUNDS: Final = 60  # without a part to stop on
PATIENCE: Final = 30
STOP_SHARE: Final = 0.1
ENOUGH_TO_STOP: Final = 500  # episodes below which a tenth says nothing
LEAST_ROUNDS: Final = 40
GRID: Final = (
    {"num_leaves": 4, "learning_rate": 0.05},
    {"num_leaves": 8, "learning_rate": 0.05},
    {"num_leaves": 15, "learning_rate": 0.05},
    {"num_leaves": 4, "learning_rate": 0.1},
)
RISING: Final = ("_last_label", "_false_share")  # more votes for noise never make it less of it
WORTH: Final = {  # what a split's gain counts for, by the end or the beginning of a feature's name
    "_votes": 0.0,  # how many votes there were tells when an alert was, not what it is
    "hour_": 0.7,
    "weekday_": 0.2,  # few weeks have few Mondays
}


@dataclass(frozen=True)
class Fitted:
    model: str  # LightGBM's text: the prior's trees, scaled, and those added
    rounds: int  # trees added
    parameters: dict[str, Any]
    importance: dict[str, float]  # share of the gain by feature
    stopped_loss: float | None = None  # on the part that stopped it


@dataclass(frozen=True)
class Setup:
    """What a model is made with, beside its data: the same data and setup give the same text."""

    seed: int
    prior: Prior | None = None
    hints: Dataset | None = None  # learned from beside the data; they neither stop it nor count for its settings
    threads: int = 1


def fit(train: Dataset, setup: Setup, *, search: bool = False) -> Fitted:
    """The best of a small grid with `search`, else its first."""
    if not search or len(train) < ENOUGH_TO_STOP:
        return _fit(train, setup, GRID[0])
    from joblib import Parallel, delayed  # noqa: PLC0415 -- only where it is asked for

    # Threads, not processes: LightGBM lets go of the interpreter's lock, and nothing needs copying.
    one = replace(setup, threads=1)
    found = Parallel(n_jobs=setup.threads, prefer="threads")(delayed(_fit)(train, one, choice) for choice in GRID)
    best: Fitted = min(found, key=lambda fitted: fitted.stopped_loss if fitted.stopped_loss is not None else np.inf)
    return best


def again(everything: Dataset, fitted: Fitted, setup: Setup) -> Fitted:
    """The same settings and number of trees on more data, with nothing kept for stopping."""
    least = parameters(len(everything), setup.seed, setup.threads)["min_data_in_leaf"]
    return _fit(everything, setup, fitted.parameters | {"min_data_in_leaf": least}, max(1, fitted.rounds))


def then(past: Dataset, fitted: Fitted, setup: Setup) -> Fitted:
    """What would have been made of less data: the same choice and number of trees, the settings for so many episodes."""
    return _fit(past, setup, {name: fitted.parameters[name] for name in GRID[0]}, max(1, fitted.rounds))


def parameters(rows: int, seed: int, threads: int) -> dict[str, Any]:
    """What does not depend on the search; leaves shrink with the data, so that sixty votes can teach something."""
    return {
        "objective": "cross_entropy",  # takes soft labels
        "min_data_in_leaf": max(2, min(120, rows // 4)),
        "min_data_in_bin": 1 if rows < ENOUGH_TO_STOP else 3,
        "feature_fraction": 0.5,
        "monotone_constraints": [1 if name.endswith(RISING) else 0 for name in FEATURES],
        "feature_contri": [_worth(name) for name in FEATURES],
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


def _worth(name: str) -> float:
    return next((worth for part, worth in WORTH.items() if name.endswith(part) or name.startswith(part)), 1.0)


def weights(data: Dataset) -> Floats:
    """One entry per episode, 1 on average: a hundred alerts of one incident count as ten."""
    weight: Floats = data.weight / np.sqrt(data.together)
    even: Floats = weight / weight.mean()
    return even


def _fit(train: Dataset, setup: Setup, choice: dict[str, Any], rounds: int | None = None) -> Fitted:
    settings = parameters(len(train), setup.seed, setup.threads) | choice
    stops = rounds is None and len(train) >= ENOUGH_TO_STOP
    cut = len(train) - int(STOP_SHARE * len(train)) if stops else len(train)
    weight = weights(train)
    base = None if setup.prior is None else _base(setup.prior, train, weight, cut)
    known = 0 if base is None else base.num_trees()
    most = ROUNDS if stops else FEW_ROUNDS if rounds is None else rounds
    booster, curve = boost(train, weight, settings, cut, most, base, setup.hints)
    if stops:
        added = max(LEAST_ROUNDS, booster.best_iteration - known) if booster.best_iteration > 0 else ROUNDS
    else:
        added = booster.num_trees() - known
    trees = min(known + added, booster.num_trees())
    gain: Floats = _gain(booster, trees) - _gain(booster, known)  # what was learned here, not what the prior knew
    shares = gain / gain.sum() if gain.sum() > 0 else gain
    return Fitted(
        booster.model_to_string(num_iteration=trees),
        trees - known,
        settings,
        dict(zip(FEATURES, (float(share) for share in shares), strict=True)),
        min(curve) if curve else None,
    )


def _gain(booster: Any, trees: int) -> Floats:
    """Of each feature, in the first `trees`."""
    if trees == 0:
        return np.zeros(len(FEATURES))
    found: Floats = np.asarray(booster.feature_importance("gain", iteration=trees), dtype=np.float64)
    return found


@singledispatch
def boost(
    train: Dataset,
    weight: Floats,
    settings: dict[str, Any],
    cut: int,
    rounds: int,
    base: Any = None,
    hints: Dataset | None = None,
) -> tuple[Any, list[float]]:
    """(booster, log-loss after each round) of at most `rounds` trees on the first `cut` episodes, after those of `base`.

    The episodes from `cut` on stop it: its `best_iteration` has the least loss on them. Without such a part there are
    no losses. How it is done depends on where the dataset is: another class of it registers its own way.
    """
    import lightgbm  # noqa: PLC0415 -- heavy, and needs libgomp: only where a model is made

    data = _data(train, weight, slice(cut), hints=hints)
    if cut == len(train):
        return lightgbm.train(settings, data, rounds, init_model=base), []
    losses: dict[str, Any] = {}
    newest = _data(train, weight, slice(cut, None), data)
    stop: list[Any] = [lightgbm.early_stopping(PATIENCE, verbose=False), lightgbm.record_evaluation(losses)]
    booster = lightgbm.train(settings, data, rounds, valid_sets=[newest], callbacks=stop, init_model=base)
    return booster, [float(loss) for loss in losses["valid_0"]["cross_entropy"]]


def _base(prior: Prior, train: Dataset, weight: Floats, cut: int) -> Any:
    """The prior, scaled to the labels before the part that stops."""
    known = train.take(np.arange(cut)).observe(prior.log_odds)
    return prior.booster(*calibrate.platt(known, train.label[:cut], weight[:cut]))


def _data(dataset: Dataset, weight: Floats, part: slice, reference: Any = None, hints: Dataset | None = None) -> Any:
    import lightgbm  # noqa: PLC0415 -- as above

    x, label, weighed = dataset.x[part], dataset.label[part], weight[part]
    if hints is not None:  # in the proportion that they have to what people said
        share = hints.weight * float(weight.sum() / dataset.weight.sum())
        x, label, weighed = (np.concatenate(pair) for pair in ((x, hints.x), (label, hints.label), (weighed, share)))
    names = list(FEATURES)
    return lightgbm.Dataset(x, label, weight=weighed, feature_name=names, reference=reference, free_raw_data=False)
