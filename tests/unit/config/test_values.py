"""Durations, sizes and matchers: what is read, and what is refused with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.durations import format_duration, parse_duration, parse_size
from sidecar.config.matchers import Matcher, compile_re2, parse_matcher, split_matchers
from sidecar.config.problems import Wrong


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("4h", 14400), ("90d", 7776000), ("2w", 1209600), ("500ms", 0.5), (0, 0), ("0", 0), ("1.5h", 5400)],
)  # fmt: skip
def test_durations(text: object, seconds: float) -> None:
    """Alertmanager's notation becomes seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", 30, "5 minutes", "", "m", "-5m", True, None, "1h 30m", []])
def test_what_is_no_duration(text: object) -> None:
    """A number without a unit, and words, are refused."""
    with pytest.raises(Wrong, match="not a duration") as caught:
        parse_duration(text)
    assert '"30s"' in caught.value.hint


@given(st.integers(0, 10**10))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    """format_duration and parse_duration are inverse to the millisecond."""
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "size"), [("32MiB", 33554432), ("500kB", 500000), (1024, 1024), ("1 GiB", 1073741824), ("10K", 10000)]
)
def test_sizes(text: object, size: int) -> None:
    """Bytes, with or without a unit."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["32 apples", "-1", True, "", None])
def test_what_is_no_size(text: object) -> None:
    """Anything else is refused."""
    with pytest.raises(Wrong, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "labels", "holds"),
    [
        ('alertname = "CircuitBreakerOpen"', {"alertname": "CircuitBreakerOpen"}, True),
        ('alertname =~ ".*HighLatency|.*Timeout"', {"alertname": "ApiTimeout"}, True),
        ('alertname =~ "High"', {"alertname": "HighLatency"}, False),
        ("severity=CRITICAL", {"severity": "CRITICAL"}, True),
        ('team!="a"', {}, True),
        ('team=""', {}, True),
        ('team=~".+"', {}, False),
        ('team!~"a|b"', {"team": "c"}, True),
        (r'path="C:\\x \"y\"\n"', {"path": 'C:\\x "y"\n'}, True),
        ('name=~"(?i)node.*"', {"name": "NodeDown"}, True),
        ('name=~"a+b"', {"name": "aab\n"}, False),
        (r'name=~"\\+\\++"', {"name": "+++"}, True),
        (r"bare=a\\b\"c\d", {"bare": 'a\\b"c\\d'}, True),
        ('digits=~"[0-9]{1,3}"', {"digits": "٣"}, False),
        (r'digits=~"\\d"', {"digits": "٣"}, False),
    ],
)
def test_matchers_mean_what_alertmanager_means(text: str, labels: dict[str, str], holds: bool) -> None:
    """An absent label is empty, expressions are anchored, quotes and escapes are Alertmanager's."""
    assert parse_matcher(text).matches(labels) is holds


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nonsense", "write a label"),
        ('a="b', "write a label"),
        ('a=b"', "write a label"),
        ("1a=b", "write a label"),
        (5, "write a label"),
        ('a=~"(?!x)y"', "second matcher"),
        ('a=~"(?<=x)y"', "second matcher"),
        (r'a=~"(x)\\1"', "repetition"),
        ('a=~"(?P<n>x)(?P=n)"', "repetition"),
        ('a=~"x++"', "backtracks"),
        ('a=~"(?>x)"', "backtracks"),
        (r'a=~"x\\Z"', "anchored"),
        ('a=~"(x"', "escape"),
        ('a=~"[[:alpha:]]"', "A-Za-z"),
        ('a=~"x{1,2000}"', "use"),
        (r'a=~"\\pL"', "escape"),
        ('a=~"[a||b]"', "escape"),
    ],
)
def test_a_matcher_that_alertmanager_would_refuse(text: object, hint: str) -> None:
    """It is refused here too, with what to write instead."""
    with pytest.raises(Wrong) as caught:
        parse_matcher(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize("pattern", [r"[(?!]+", r"a\+\+", r"[*+]+", r"\\1", r"(?:a|b)?", "(?i:x)y", "x{1,1000}"])
def test_what_only_looks_foreign(pattern: str) -> None:
    """Escaped signs and signs within classes are no look-around."""
    assert compile_re2(pattern).pattern == pattern


@given(st.text(max_size=20), st.sampled_from(["=", "!="]))
def test_a_matcher_survives_being_written(value: str, op: str) -> None:
    """What is written for Alertmanager reads back as the same matcher."""
    matcher = Matcher("label", op, value)
    assert parse_matcher(str(matcher)) == matcher


def test_one_string_may_hold_several_matchers() -> None:
    """As in Alertmanager, with or without braces; a comma within quotes separates nothing."""
    assert split_matchers(['{a="b", c=~"d,e"}', 'f="g"']) == ['a="b"', ' c=~"d,e"', 'f="g"']
    assert split_matchers(['a="b,c"', 5]) == ['a="b,c"', 5]
