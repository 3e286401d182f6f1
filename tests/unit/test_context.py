"""Points around an alert's start, and the sentence they make."""

from __future__ import annotations

from math import inf, nan

import pytest

from sidecar.context import Measured, Span, failed, line_of, measure, span_of

START = 1_795_316_400.25
ASKED = Measured("e", "cpu", "up", START + 30, 1800.0, "empty")


def points(*values: float, start: float = START, step: float = 30.0) -> list[tuple[float, float]]:
    """Values up to the start, the last of them at it."""
    return [(start - (len(values) - 1 - n) * step, value) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("before", "after", "now", "span"),
    [
        (1800.0, 0.0, START + 60, Span(START - 1800, START, 30.0)),
        (1800.0, 60.0, START + 3600, Span(START - 1800, START + 60, 30.0)),
        (1800.0, 60.0, START + 45, Span(START - 1800, START + 30, 30.0)),  # no more than is over
        (1800.0, 60.0, START - 5, Span(START - 1800, START, 30.0)),  # its clock is ahead of ours
        (1.0, 0.0, START, Span(START - 1, START, 1.0)),
        (10.0, 10.0, START + 60, Span(START - 10, START + 10, 1.0)),
    ],
)
def test_the_start_is_one_of_the_moments(before: float, after: float, now: float, span: Span):
    """At most sixty steps before it, a second or longer each."""
    assert span_of(START, before, after, now) == span


@pytest.mark.parametrize("before", [1.0, 7.0, 100.0, 1799.999, 604800.0])
def test_points_are_bounded(before: float):
    """However long the time is."""
    span = span_of(START, before, before, START + before)
    assert 1 <= (START - span.start) / span.step <= 60.001
    assert (span.end - span.start) / span.step <= 121
    assert before - (START - span.start) < span.step + 1e-6


@pytest.mark.parametrize(
    ("found", "after", "sentence"),
    [
        (points(0.3, 0.31, 0.32, 0.97), [], "cpu: 0.31 usually (30 min before), 0.97 at the start"),
        (points(1, 1, 1, 5), [(START + 30, 7.0), (START + 60, 8.5)], "1 usually (30 min before), 5 at the start, 8.5 1 min later"),
        (points(1234567.0, 2e18), [], "cpu: 1,234,567 usually (30 min before), 2e+18 at the start"),
        (points(0.97), [], "cpu: no data (30 min before), 0.97 at the start"),
        (points(0.2, nan), [], "cpu: 0.2 usually (30 min before), no data at the start"),
        (points(nan, nan), [], "cpu: no data"),
        ([], [], "cpu: no data"),
        (points(0.0, inf), [], "cpu: 0 usually (30 min before), inf at the start"),
    ],
)  # fmt: skip
def test_a_sentence_for_people(found, after, sentence: str):
    """The median before, the value at the start, and what came after if that was asked for."""
    measured = measure(ASKED, START, Span(START - 1800, START + 60, 30.0), [*found, *after])
    assert sentence in line_of(measured)
    assert measured.result == ("empty" if sentence.endswith("cpu: no data") else "ok")


def test_what_failed_has_no_sentence_and_a_short_reason():
    """Prometheus's own words can be long, and hold line breaks."""
    measured = failed(ASKED, "parse error:\n" + "x" * 5000)
    assert line_of(measured) == ""
    assert measured.result == "failed"
    assert measured.why.startswith("parse error: xxx")
    assert len(measured.why) == 300
