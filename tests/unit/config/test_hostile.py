"""Configurations that are wrong in ways nobody writes on purpose: each is an error that says what to write."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from sidecar.config import ConfigError, loads
from sidecar.config.matchers import parse_matcher
from sidecar.config.problems import Wrong

RULE = {"pattern": "x", "threshold": 3, "window": "5m", "aggregate_as": "x"}


def problems(given: dict[str, Any]) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        loads(yaml.safe_dump(given), {})
    return caught.value.problems


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1.0, "101y", "9" * 400 + "s"])
@pytest.mark.parametrize(
    "path", ["watch.settled_after", "windows.max_lease", "folding.for", "severity_definitions.INFO.sla"]
)
def test_no_time_is_endless_or_negative(path: str, value: object) -> None:
    """A date is made of `now` and each of them."""
    given: Any = value
    for name in reversed(path.split(".")):
        given = {name: given}
    ((where, _, hint),) = problems(given)
    assert where == path
    assert hint


@pytest.mark.parametrize("template", ["{alertname:>99999999}", "{alertname!r}", "{count:{count}}"])
def test_a_title_takes_no_format(template: str) -> None:
    """A width would fill the memory, and what is not read is an error."""
    ((where, wrong, hint),) = problems({"aggregation_rules": {"pods": {**RULE, "aggregate_as": template}}})
    assert (where, "format" in wrong) == ("aggregation_rules.pods.aggregate_as", True)
    assert "only the name" in hint


@pytest.mark.parametrize("pattern", ["", "^", "|", "KEDA|", "x*"])
def test_a_pattern_that_is_found_in_everything(pattern: str) -> None:
    """A bar too many would make one aggregate of all alerts; who wants that writes it."""
    ((where, wrong, hint),) = problems({"aggregation_rules": {"pods": {**RULE, "pattern": pattern}}})
    assert (where, "every text" in wrong) == ("aggregation_rules.pods.pattern", True)
    assert ".+" in hint


def test_a_quotation_that_does_not_end() -> None:
    r"""`\Q` quotes to the end of the pattern, and of nothing beyond it."""
    found = loads(yaml.safe_dump({"aggregation_rules": {"pods": {**RULE, "pattern": "\\Qa.b"}}}), {}).patterns
    assert found is not None
    assert found.find({"alertname": "N"}, {"summary": "it is a.b)"}) is not None
    assert found.find({"alertname": "N"}, {"summary": "it is aXb"}) is None


@pytest.mark.parametrize("zone", [[], ["Europe/Berlin"], {}])
def test_a_time_zone_that_is_no_text(zone: object) -> None:
    """It is an error of business hours, which the digest takes its zone from."""
    hours = {"schedule": "0 9-17 * * 1-5", "timezone": zone, "routes": {}}
    assert [one[0] for one in problems({"time_based_routing": {"business_hours": hours}})] == [
        "time_based_routing.business_hours.timezone"
    ]


def test_text_that_no_database_takes() -> None:
    """All of it at once: it would make every alert that it touches poison."""
    found = problems({
        "silences": {"created_by": "a\x00"},
        "time_based_routing": {"maintenance_windows": [{"name": "\x00", "schedule": "0 2-4 * * 0"}]},
        "aggregation_rules": {"\x00": RULE},
    })  # fmt: skip
    assert [one[0] for one in found] == [
        "aggregation_rules", "silences.created_by", "time_based_routing.maintenance_windows[0].name",
    ]  # fmt: skip
    assert loads('silences: {created_by: "a b"}', {}).silences.created_by == "a b"
    with pytest.raises(ConfigError, match="half a character"):
        loads('silences: {created_by: "\\ud800"}', {})


def test_no_matcher_hangs_the_loop() -> None:
    """Nested repeats take Python's engine longer than anybody lives."""
    began = time.perf_counter()
    assert not parse_matcher('a=~"(x+x+)+y"').matches({"a": "x" * 100_000})
    assert parse_matcher('a=~"(x|xx)*y|é+.*"').matches({"a": "é\N{SNOWMAN}"})
    assert parse_matcher('a!~"(a|b)+"').matches({"a": "abc"})
    assert time.perf_counter() - began < 1.0


def test_a_matcher_too_large_for_its_engine() -> None:
    with pytest.raises(Wrong, match="RE2 does not take it"):
        parse_matcher('a=~"((a{900}){900}){900}"')


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: " + "[" * 5000, "a: " + "[" * 2000 + "]" * 2000])
def test_a_file_nested_without_end(text: str) -> None:
    with pytest.raises(ConfigError, match="nested without end"):
        loads(text, {})


@pytest.mark.parametrize("pattern", [".{500}", "(a|b)*a(a|b){900}", r"\w{1,1000}"])
def test_a_pattern_that_takes_long_on_every_alert(pattern: str) -> None:
    """RE2 is linear in the text, and in the pattern as well."""
    ((where, wrong, hint),) = problems({"aggregation_rules": {"pods": {**RULE, "pattern": pattern}}})
    assert (where, "too large" in wrong, "repeats" in hint) == ("aggregation_rules.pods.pattern", True, True)
