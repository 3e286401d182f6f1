"""The circuit breaker, on a clock of the test's own."""

from __future__ import annotations

from sidecar.breaker import Breaker


def opened(at: float = 0.0) -> Breaker:
    """One that has just opened."""
    breaker = Breaker(failures=3, pause=30.0)
    for _ in range(3):
        ticket = breaker.enter(at)
        assert ticket is not None
        breaker.leave(ticket, at, well=False)
    return breaker


def test_failures_in_a_row_open_it():
    """Three of three; then nothing goes through until the pause is over."""
    breaker = opened(at=100.0)
    assert breaker.state == "open"
    assert [breaker.enter(at) for at in (100.0, 129.9)] == [None, None]


def test_a_success_between_failures_keeps_it_closed():
    """Only failures in a row count."""
    breaker = Breaker(failures=2, pause=30.0)
    for well in (False, True, False, True, False):
        ticket = breaker.enter(0.0)
        assert ticket is not None
        breaker.leave(ticket, 0.0, well=well)
    assert breaker.state == "closed"


def test_after_the_pause_one_probe_goes_through():
    """While it is on its way, no other does."""
    breaker = opened()
    probe = breaker.enter(30.0)
    assert probe is not None
    assert breaker.state == "half_open"
    assert breaker.enter(30.0) is None
    assert breaker.enter(99.0) is None


def test_the_probe_decides():
    """Its success closes the breaker and forgets the failures; its failure opens it for another whole pause."""
    breaker = opened()
    probe = breaker.enter(30.0)
    assert probe is not None
    breaker.leave(probe, 31.0, well=False)
    assert breaker.state == "open"
    assert breaker.enter(60.9) is None

    probe = breaker.enter(61.0)
    assert probe is not None
    breaker.leave(probe, 61.1, well=True)
    assert breaker.state == "closed"

    ticket = breaker.enter(61.2)
    assert ticket is not None
    breaker.leave(ticket, 61.2, well=False)
    assert breaker.state == "closed"


def test_late_answers_say_nothing_about_a_later_state():
    """A call from before it opened neither closes it nor takes the probe's place."""
    breaker = Breaker(failures=1, pause=30.0)
    first, second, third = (breaker.enter(0.0) for _ in range(3))
    assert first == second == third is not None
    breaker.leave(first, 1.0, well=False)
    breaker.leave(second, 2.0, well=True)
    assert breaker.state == "open"
    probe = breaker.enter(31.0)
    assert probe is not None
    breaker.leave(third, 31.0, well=False)
    assert breaker.state == "half_open"
    breaker.leave(probe, 31.0, well=True)
    assert breaker.state == "closed"
