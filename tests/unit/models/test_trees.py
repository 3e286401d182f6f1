from __future__ import annotations

import re

import lightgbm
import numpy as np
import pytest

from models.features import FEATURES
from models.trees import TreeError, check_trees

COUNT = len(FEATURES)


def text(objective: str = "cross_entropy", rows: int = 400, **settings) -> str:
    """A model of random numbers, some of them missing or all alike."""
    draw = np.random.default_rng(1)
    x = draw.normal(size=(rows, COUNT))
    x[draw.random(x.shape) < 0.2] = -1.0
    x[:, 3] = 0.0
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(float)
    data = lightgbm.Dataset(x, y, feature_name=list(FEATURES))
    quiet = {"verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True, "objective": objective}
    return lightgbm.train(quiet | settings, data, 20).model_to_string()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"objective": "binary"},
        {"num_leaves": 2},
        {"num_leaves": 127, "min_data_in_leaf": 2},
        {"monotone_constraints": [1] + [0] * (COUNT - 1), "bagging_fraction": 0.7, "bagging_freq": 1},
        {"rows": 10},  # trees of one leaf
    ],
)
def test_what_lightgbm_writes_is_right(how):
    """No model that was really trained is refused."""
    check_trees(text(**how), COUNT)


@pytest.mark.parametrize(
    ("pattern", "new", "reason"),
    [
        ("^objective=.*$", "objective=", "objective"),
        ("^num_leaves=", "num_leaves=4\nnum_leaves=", "twice"),
        ("^internal_value=.*$", "internal_value=1", "internal_value"),
        ("^leaf_weight=.*$", "leaf_weight=1", "leaf_weight"),
        ("^num_cat=0$", "num_cat=1", "categories"),
        ("^is_linear=0$", "is_linear=1", "linear"),
        ("^threshold=[^ ]+", "threshold=nan", "threshold"),
        ("^threshold=[^ ]+", "threshold=1.2.3", "threshold"),
        ("^decision_type=2", "decision_type=1", "kind"),
        ("^split_feature=[^ ]+", f"split_feature={COUNT}", "feature that is not there"),
        ("^Tree=1$", "Tree=7", "out of order"),
    ],
)
def test_what_would_read_beyond_is_refused(pattern, new, reason):
    """With the tree and the reason, before LightGBM sees it."""
    whole = text()
    damaged, times = re.subn(pattern, new, whole, count=1, flags=re.MULTILINE)
    assert times == 1
    body = damaged.partition("\nend of trees\n")[0] + "\n"
    sizes = " ".join(str(len(tree)) for tree in re.split(r"^(?=Tree=)", body, flags=re.MULTILINE)[1:])
    with pytest.raises(TreeError, match=reason):
        check_trees(re.sub("^tree_sizes=.*$", f"tree_sizes={sizes}", damaged, flags=re.MULTILINE), COUNT)


def test_branches_that_lead_back_are_refused():
    """Two nodes that are each other's children have every child once, and no end."""
    tree = {"left": [1, 2, -2], "right": [-1, -3, -4]}
    from models.trees import _check_children

    _check_children(tree["left"], tree["right"])
    with pytest.raises(TreeError, match="lead back"):
        _check_children([-1, 2, 1], [-2, -3, -4])
