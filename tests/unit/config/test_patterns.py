"""The patterns of aggregation_rules: what is found where, what a title says, and what RE2 makes of bad ones."""

from __future__ import annotations

import random
import time

import pytest
import re2
import yaml
from pydantic import ValidationError

from sidecar.config import Config
from sidecar.config.patterns import LONGEST_TEXT, LONGEST_VALUE, Patterns, compile_pattern
from sidecar.config.problems import Wrong
from tests.unit.config.samples import SPECIFICATION

SPECIFIED = yaml.safe_load(SPECIFICATION)["aggregation_rules"]


def patterns(**rules: object) -> Patterns:
    """Rules by name: a pattern, or (pattern, aggregate_as)."""
    made = {}
    for name, given in rules.items():
        pattern, title = given if isinstance(given, tuple) else (given, name)
        made[name] = {"pattern": pattern, "threshold": 3, "window": "5m", "aggregate_as": title}
    found = Config.model_validate({"aggregation_rules": made}).patterns
    assert found is not None
    return found


def title(pattern: str, aggregate_as: str, summary: str, **labels: str) -> str:
    found = patterns(rule=(pattern, aggregate_as)).find({"alertname": "A", **labels}, {"summary": summary})
    assert found is not None
    return found.title


def test_without_rules_there_are_no_patterns():
    assert Config().patterns is None


@pytest.mark.parametrize(
    ("summary", "labels", "expected"),
    [
        ("Pod pay-1 in namespace shop is failing", {"namespace": "shop"}, "Multiple pods failing in shop"),
        ("Pod pay-1 in namespace shop is failing", {}, "Multiple pods failing in shop"),
        (
            "KEDA scaled orders from 2 to 9 replicas",
            {"namespace": "shop", "scaledobject": "orders"},
            "Frequent scaling in shop/orders",
        ),
        (
            "KEDA scaled orders from 2 to 9 replicas",
            {"namespace": "shop"},
            "Frequent scaling in shop/unknown scaledobject",
        ),
        ("API endpoint /cart returning 5xx", {}, "API /cart experiencing errors ({count} in 1m)"),
        ("API endpoint /cart returning 5xx", {"endpoint": "cart"}, "API cart experiencing errors ({count} in 1m)"),
    ],
)
def test_the_specifications_rules_read_as_an_operator_expects(summary, labels, expected):
    """A label where there is one, else the words of the alert itself."""
    found = Config.model_validate({"aggregation_rules": SPECIFIED}).patterns
    assert found is not None
    made = found.find({"alertname": "A", **labels}, {"summary": summary})
    assert made is not None
    assert made.title == expected


def test_summary_then_description_then_alertname_are_searched():
    rule = patterns(rule=(r"disk (?P<disk>\w+)", "{disk}"))
    texts = {"summary": "disk one", "description": "disk two"}
    seen = []
    for name in ("summary", "description", "other"):
        found = rule.find({"alertname": "disk three"}, texts)
        seen.append(found.title if found else None)
        texts.pop(name, None)
    assert seen == ["one", "two", "three"]


def test_the_first_rule_of_the_file_counts():
    both = patterns(b="x+y", a="x+")
    assert both.find({"alertname": "xxy"}, {}).name == "b"
    assert both.find({"alertname": "xx"}, {}).name == "a"


def test_no_match_spans_two_texts():
    spanning = patterns(rule=r"one\stwo")
    assert spanning.find({"alertname": "A"}, {"summary": "one", "description": "two"}) is None


@pytest.mark.parametrize("pattern", ["^A$", r"\AA\z", "(?-m)^A$", "A$|never", "never|^A"])
def test_anchors_hold_at_the_ends_of_each_text(pattern):
    anchored = patterns(rule=pattern)
    assert anchored.find({"alertname": "A"}, {"summary": "B", "description": "C"}) is not None
    assert anchored.find({"alertname": "x"}, {"description": "A"}) is not None
    assert anchored.find({"alertname": "xAx"}, {"summary": "B"}) is None


@pytest.mark.parametrize("group", [r"(?P<disk>\w+)", r"(?<disk>\w+)"])
def test_named_groups_come_before_labels_in_either_spelling(group):
    assert title(f"disk {group} is full", "{disk} {window}", "disk sda is full", disk="label") == "sda 5m"


def test_a_group_that_took_no_part_leaves_it_to_the_label():
    assert title(r"full|disk (?P<disk>\w+)", "{disk}", "full", disk="label") == "label"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("node .* is down", "n1"),  # the word itself
        ("^.* is down$", "node n1"),  # the only one, for the only name
        (r"[.*]*\w+ \w+ is .*n", "dow"),  # not the one inside a class
        (r"\Qnode n1\E is down", "unknown node"),
        ("n.* is d.*", "unknown node"),  # two, and neither follows the word
    ],
)
def test_a_name_that_nothing_else_fills_is_what_the_wildcard_matched(pattern, expected):
    assert title(pattern, "{node}", "node n1 is down") == expected


def test_the_only_wildcard_stands_for_one_name_and_no_more():
    assert title("API .* failing", "{endpoint} in {zone}", "API /a failing") == "unknown endpoint in unknown zone"
    assert title("API .* failing", "{endpoint} in {zone}", "API /a failing", zone="eu") == "/a in eu"


def test_braces_of_values_and_text_survive_until_the_count_is_filled_in():
    made = title("x", "{{n}} {pod}: {count}", "x", pod="{count} {0} }{")
    assert made.format(count=7) == "{n} {count} {0} }{: 7"


def test_values_are_one_short_line():
    assert title("x", "{pod}", "x", pod="a\n\tb" + "c" * 500) == "a b" + "c" * (LONGEST_VALUE - 3)


def test_only_the_beginning_of_a_text_is_searched():
    rule = patterns(rule="needle")
    assert rule.find({}, {"summary": "x" * (LONGEST_TEXT - 6) + "needle"}) is not None
    assert rule.find({}, {"summary": "x" * LONGEST_TEXT + "needle"}) is None


def test_text_that_is_no_unicode_is_searched_all_the_same():
    assert title("endpoint .* fails", "{endpoint}", "endpoint \ud800é fails") == "?é"


@pytest.mark.parametrize(
    ("pattern", "said", "hint"),
    [
        ("(?!x)", "look-ahead", "!~"),
        (r"(a)\1", "back-references", "repetition"),
        ("(a", "missing )", "backslash"),
        ("x{1001}", "invalid repetition size", "backslash"),
        ("(?>a)", "atomic", "RE2 never backtracks"),
    ],
)
def test_what_re2_does_not_take_is_an_error_with_a_hint(pattern, said, hint):
    with pytest.raises(Wrong) as refused:
        compile_pattern(pattern)
    assert said in str(refused.value)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "change", [{"threshold": 0}, {"threshold": 1001}, {"window": "0"}, {"window": "25h"}, {"aggregate_as": "{a b}"}]
)
def test_a_rule_that_makes_no_sense_is_refused(change):
    rule = {"pattern": "x", "threshold": 3, "window": "5m", "aggregate_as": "x"} | change
    with pytest.raises(ValidationError):
        Config.model_validate({"aggregation_rules": {"rule": rule}})


def test_no_pattern_can_hang_the_loop():
    """What takes a backtracking engine longer than the universe is old takes milliseconds."""
    evil = patterns(a="(a+)+$", b="(a|aa)*b", c="(.*.*.*.*)*x")
    began = time.perf_counter()
    evil.find({}, {"summary": "a" * 100_000 + "!", "description": "a" * 40})
    assert time.perf_counter() - began < 1.0


def test_the_first_pass_over_all_patterns_misses_nothing():
    """Against each pattern by itself, on random texts and patterns."""
    draw = random.Random(7)
    parts = ["a", "b", ".*", "c?", "[ab]", "^", "$", "(a|b)", " ", "a+", r"\b"]
    rules = {f"r{n}": "x" + "".join(draw.choices(parts, k=4)) for n in range(60)}
    everything, single = patterns(**rules), {name: re2.compile(one) for name, one in rules.items()}
    hits = 0
    for _ in range(400):
        texts = ["".join(draw.choices("abcx ", k=draw.randrange(8))) for _ in range(3)]
        found = everything.find({"alertname": texts[2]}, {"summary": texts[0], "description": texts[1]})
        expected = next(
            (name for name, one in single.items() if any(text and one.search(text) for text in texts)), None
        )
        assert (found.name if found else None) == expected
        hits += expected is not None
    assert 50 < hits < 400
