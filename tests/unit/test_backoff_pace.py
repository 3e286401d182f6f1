"""When the next attempt is made, and how fast a destination may be sent to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.delivery.backoff import next_try
from sidecar.delivery.pace import Pace

DRAW = st.floats(0.0, 1.0, exclude_max=True)


@given(st.integers(0, 10_000), st.floats(1.0, 3600.0), DRAW)
def test_the_wait_is_within_the_span(attempts, longest, draw):
    """Full jitter above a floor: never at once, never longer than configured."""
    wait = next_try(attempts, None, longest, draw)
    assert 0.1 * min(longest, 1.0) <= wait <= longest


def test_the_span_doubles_until_it_is_longest():
    """1, 2, 4 ... seconds."""
    for attempts, seconds in enumerate((1, 2, 4, 8, 16, 30, 30)):
        assert 0.99 * seconds < next_try(attempts, None, 30.0, 0.999999) <= seconds


@given(st.integers(0, 100), st.floats(0.0, 86_400.0), DRAW)
def test_never_before_the_provider_said(attempts, after, draw):
    """A Retry-After beyond our own longest wait counts too."""
    assert next_try(attempts, after, 600.0, draw) >= after


def test_a_bucket_empties_and_fills():
    """Two at once, then one a second."""
    pace = Pace(1.0, 2.0)
    assert pace.free(100.0) == 2
    pace.take(100.0, 2)
    assert pace.free(100.0) == 0
    assert pace.free(100.9) == 0
    assert pace.free(101.0) == 1
    assert pace.free(200.0) == 2


@given(st.floats(0.1, 1000.0), st.lists(st.floats(0.0, 10.0), min_size=1, max_size=50))
def test_no_more_than_the_rate_and_the_burst(rate, gaps):
    """However it is asked."""
    pace, now, sent = Pace(rate, 3.0), 0.0, 0
    for gap in gaps:
        now += gap
        count = pace.free(now)
        pace.take(now, count)
        sent += count
    assert sent <= 3.0 + rate * sum(gaps) + 1e-6


def test_a_slow_rate_still_sends():
    """A burst below one message would never send any."""
    pace = Pace(0.1, 0.1)
    assert pace.free(0.0) == 1
    pace.take(0.0, 1)
    assert pace.free(9.0) == 0
    assert pace.free(10.5) == 1


def test_a_pause_holds_everything_back():
    """The longest that was asked for."""
    pace = Pace(10.0, 10.0)
    pace.pause(50.0)
    pace.pause(20.0)
    assert pace.free(49.9) == 0
    assert pace.free(50.0) == 10


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing():
    """Tokens are neither made up nor lost."""
    pace = Pace(1.0, 5.0)
    pace.take(100.0, 3)
    assert pace.free(40.0) == 2
    assert pace.free(101.0) == 3


def test_what_was_taken_and_not_sent_is_given_back():
    """Up to the burst."""
    pace = Pace(1.0, 2.0)
    pace.take(0.0, 2)
    pace.give_back(1)
    assert pace.free(0.0) == 1
    pace.give_back(9)
    assert pace.free(0.0) == 2
