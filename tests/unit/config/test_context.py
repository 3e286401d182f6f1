"""The section `context`: its mistakes, and labels that are filled into queries and cannot change them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import loads, warnings
from sidecar.config.context import LONGEST_VALUE, check_query, fill_in
from sidecar.config.problems import Wrong
from sidecar.errors import ConfigError

QUERY = """avg(rate(cpu{instance="{instance}", job='{job}'}[5m]))"""


def test_it_is_off_until_there_is_a_url():
    """Without the section, and with its defaults."""
    settings = loads("").context.prometheus
    assert (settings.url, settings.queries, settings.timeout) == (None, {}, 2.0)
    assert (settings.before, settings.after) == (1800.0, 0.0)


def test_all_mistakes_at_once_with_their_paths():
    """Each says what to write instead."""
    text = """
context:
  prometheus:
    url: prometheus:9090
    headers: {Host: x}
    timeout: 2h
    queries: {bare: "up{instance={instance}}", empty: "", open: 'up{a="x', text: 'f(x, "{a}")', tick: "up{a=`{a}`}"}
    before: 10s
    after: 20s
    step: 1s
"""
    with pytest.raises(ConfigError) as raised:
        loads(text)
    problems = {path.removeprefix("context.prometheus."): (wrong, hint) for path, wrong, hint in raised.value.problems}

    queries = {f"queries.{name}" for name in ("bare", "empty", "open", "text", "tick")}
    assert set(problems) == {"url", "headers", "timeout", "after", "step", *queries}
    assert problems["queries.bare"][0] == "{instance} stands outside quotes"
    assert problems["queries.open"][0] == "a quote is not closed"
    assert "no matcher's" in problems["queries.text"][0]
    assert "backticks" in problems["queries.tick"][0]
    assert all(hint for _, hint in problems.values())


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("{queries: {" + ", ".join(f"q{n}: up" for n in range(11)) + "}}", "queries"),
        ("{queries: {'': up}}", "queries"),
        ("{before: 0}", "before"),
        ("{before: 8d}", "before"),
        ("{timeout: 0}", "timeout"),
    ],
)
def test_limits(body: str, path: str):
    """Eleven queries, a name without letters, no time at all, or too much of it."""
    with pytest.raises(ConfigError) as raised:
        loads(f"context: {{prometheus: {body}}}")
    assert [where for where, _, _ in raised.value.problems] == [f"context.prometheus.{path}"]


@pytest.mark.parametrize(
    ("body", "missing"), [("url: 'http://p:9090'", ["queries"]), ("queries: {a: up}", ["url"]), ("before: 1h", [])]
)
def test_half_of_it_is_noticed(body: str, missing: list[str]):
    """A server without questions, and questions without a server."""
    found = [path for path, _ in warnings(loads(f"context: {{prometheus: {{{body}}}}}"))]
    assert [path for path in found if "context" in path] == [f"context.prometheus.{name}" for name in missing]


def test_labels_are_filled_in():
    """Everywhere they are named; a backslash or a comment makes no place of a brace."""
    labels = {"instance": "db-1:9100", "job": "node"}
    assert fill_in(QUERY, labels) == "avg(rate(cpu{instance=\"db-1:9100\", job='node'}[5m]))"
    assert fill_in('up{a="\\\\{job}"}', labels) == 'up{a="\\\\node"}'
    assert fill_in('# it\'s {job}\nup{a="{job}"}', labels) == '# it\'s {job}\nup{a="node"}'
    assert fill_in("sum(up)", {}) == "sum(up)"


@pytest.mark.parametrize("labels", [{}, {"instance": "a"}, {"instance": "a", "job": ""}])
def test_an_alert_without_the_label_skips_the_query(labels: dict[str, str]):
    """Absent and empty are the same."""
    assert fill_in(QUERY, labels) is None


def test_a_value_that_is_too_long_skips_the_query():
    """A label can have two megabytes."""
    assert fill_in(QUERY, {"instance": "x" * LONGEST_VALUE, "job": "a"}) is not None
    assert fill_in(QUERY, {"instance": "x" * (LONGEST_VALUE + 1), "job": "a"}) is None


def unquoted(string: str) -> str:
    """What a PromQL string means, by the escapes that we write."""
    escapes = {"\\\\": "\\"}
    return re.sub(
        r"\\\\|\\x([0-9a-f]{2})", lambda one: chr(int(one[1], 16)) if one[1] else escapes[one[0]], string[1:-1]
    )


@given(value=st.text(min_size=1, max_size=40) | st.sampled_from(['"} or x{a="', "\\", "'", "`", "{job}", "\n", '\\"']))
def test_no_value_changes_the_query(value: str):
    """Whatever is in it, the string ends where it did, and means the value."""
    filled = fill_in('up{a="{a}",b=\'{a}\'} + down{c=~"{a}:.*"}', {"a": value})
    assert filled is not None
    found = re.fullmatch(r"""up\{a=("[^"]*"),b=('[^']*')\} \+ down\{c=~("[^"]*")\}""", filled)
    assert found
    assert not re.search(r"[\x00-\x1f\x7f]", filled)
    plain = value.encode("utf-8", "replace").decode()
    assert unquoted(found[1]) == unquoted(found[2]) == plain
    matched = unquoted(found[3])
    assert re.fullmatch(matched.removesuffix(":.*"), plain)
    assert matched.endswith(":.*")


@given(st.text(alphabet="ab={}\"'`\\~!# \n", max_size=30))
def test_what_is_accepted_has_its_places_in_closed_strings(text: str):
    """A query that passes has the same strings, wherever a quote is put into a value."""
    try:
        check_query(text)
    except Wrong:
        return
    plain, nasty = fill_in(text, {"a": "x", "b": "x"}), fill_in(text, {"a": '"', "b": '"'})
    if plain is not None and nasty is not None:
        assert plain.count('"') == nasty.count('"')
