"""Whether LightGBM's text is whole and its trees are trees: seen without LightGBM, which trusts what it reads.

A child or a feature out of range makes LightGBM read memory that is not its own, perhaps only for a row that no golden
row resembles: what a trial does not visit must be right all the same.
"""

from __future__ import annotations

import math
import re
from typing import Final

MAX_LEAVES: Final = 4096  # of one tree: more is damage, and LightGBM would reserve memory for it
OBJECTIVES: Final = frozenset({"cross_entropy", "binary"})  # whose raw scores are log-odds of a false positive
_CATEGORICAL: Final = 1  # a bit of decision_type: it would look into tables that our models do not have
_TREE = re.compile(r"^Tree=(\d+)$", re.MULTILINE)


class TreeError(ValueError):
    """The text must not be loaded; the message says why."""


def check_trees(text: str, features: int) -> None:
    """Raises TreeError unless LightGBM can load the text and score any row of `features` finite numbers."""
    if not text.startswith("tree\n") or "\nend of trees\n" not in text or "\nend of parameters\n" not in text:
        raise TreeError("it is no LightGBM model, or not a whole one")
    body = text[: text.index("\nend of trees\n") + 1]
    starts = [found.start() for found in _TREE.finditer(body)]
    head = _fields(body[: starts[0]] if starts else body)
    _check_head(head, features)
    trees = [body[start:end] for start, end in zip(starts, [*starts[1:], len(body)], strict=True)]
    if not trees or _integers(head, "tree_sizes", len(trees)) != [len(tree.encode()) for tree in trees]:
        raise TreeError("its trees are not as many or as long as it says")  # LightGBM jumps by these
    for number, tree in enumerate(trees):
        try:
            _check_tree(_fields(tree), number, features)
        except TreeError as error:
            raise TreeError(f"tree {number}: {error}") from error


def _check_head(head: dict[str, str], features: int) -> None:
    if head.get("max_feature_idx") != str(features - 1):
        raise TreeError("it is for another number of features")
    if head.get("num_class") != "1" or head.get("num_tree_per_iteration") != "1":
        raise TreeError("it has more than one class")
    if (head.get("objective") or " ").split()[:1] not in ([each] for each in OBJECTIVES):
        raise TreeError(
            f"its objective is {head.get('objective', '')[:40]!r}, not one of {', '.join(sorted(OBJECTIVES))}"
        )


def _check_tree(tree: dict[str, str], number: int, features: int) -> None:
    if tree.get("Tree") != str(number):
        raise TreeError("it is out of order")
    (leaves,) = _integers(tree, "num_leaves", 1)
    if not 1 <= leaves <= MAX_LEAVES:
        raise TreeError(f"it has no leaves, or more than {MAX_LEAVES}")
    if tree.get("num_cat") != "0" or tree.get("is_linear", "0") != "0":
        raise TreeError("it has categories or linear leaves")
    if not all(map(math.isfinite, _numbers(tree, "leaf_value", leaves))):
        raise TreeError("a leaf has no finite value")
    if leaves > 1:
        _check_branches(tree, leaves, features)


def _check_branches(tree: dict[str, str], leaves: int, features: int) -> None:
    inner = leaves - 1
    for name, count in (("leaf", leaves), ("internal", inner)):  # what explanations look at
        _numbers(tree, f"{name}_weight", count)
        _numbers(tree, f"{name}_count", count)
    _numbers(tree, "internal_value", inner)
    if any(map(math.isnan, _numbers(tree, "threshold", inner))):
        raise TreeError("a threshold is no number")
    if not all(0 <= feature < features for feature in _integers(tree, "split_feature", inner)):
        raise TreeError("it looks at a feature that is not there")
    if any(kind & _CATEGORICAL or not 0 <= kind < 16 for kind in _integers(tree, "decision_type", inner)):
        raise TreeError("a decision is of a kind that is not known")
    _check_children(_integers(tree, "left_child", inner), _integers(tree, "right_child", inner))


def _check_children(left: list[int], right: list[int]) -> None:
    """Every node but the root, and every leaf, is a child once, and of an earlier node: so there is no loop."""
    inner = len(left)
    if sorted(left + right) != [*range(-inner - 1, 0), *range(1, inner)]:
        raise TreeError("its branches lead nowhere, or twice to the same place")
    if any(0 <= child <= parent for side in (left, right) for parent, child in enumerate(side)):
        raise TreeError("its branches lead back")


def _fields(section: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in section.split("\n"):
        name, equals, value = line.partition("=")
        if equals and name in found:
            raise TreeError(f"{name} is there twice")
        if equals:
            found[name] = value
    return found


def _integers(fields: dict[str, str], name: str, count: int) -> list[int]:
    return [int(each) for each in _numbers(fields, name, count, r"-?\d{1,9}")]


def _numbers(
    fields: dict[str, str], name: str, count: int, shape: str = r"-?[0-9.]+(?:e[-+]?\d+)?|-?inf|-?nan"
) -> list[float]:
    """The field's values, `count` of them; `shape` is what one looks like."""
    words = fields.get(name, "").split(" ") if fields.get(name) else []
    if len(words) != count or not all(re.fullmatch(shape, word) for word in words):
        raise TreeError(f"{name} is damaged")
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise TreeError(f"{name} is damaged") from error
