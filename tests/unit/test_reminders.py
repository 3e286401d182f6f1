"""When people are not reminded of what goes on firing: while it rests."""

from __future__ import annotations

import pytest

from sidecar.events import WindowOpened
from sidecar.pipeline import Inputs
from tests.unit.stories import World
from tests.unit.test_escalation import office

HOURS = 3600.0


def sent_again(here: World, after: float, since: float, **labels: str) -> list[str]:
    """The kinds of messages when Alertmanager repeats it."""
    here.now += after
    here.batch(Inputs((here.alert("", since, None, **labels),)))
    return here.kinds()


@pytest.mark.parametrize(
    ("told", "severity"), [("2026-11-25T16:30", "info"), ("2026-11-28T22:45", "warning")], ids=["night", "maintenance"]
)
def test_nobody_is_reminded_of_what_rests_until_it_rests_no_more(told, severity):
    """INFO whose route names nobody at night, WARNING under maintenance: the next repeat after it reminds."""
    here = office(told)
    since = here.fire(severity=severity).scored.alert.starts_at
    assert sent_again(here, 4 * HOURS, since, severity=severity) == []
    assert sent_again(here, 16 * HOURS, since, severity=severity) == ["reminder"]


def test_nor_while_a_deployment_window_covers_it():
    """Others are reminded as usual."""
    here = World()
    since = here.fire(instance="a", namespace="shop").scored.alert.starts_at
    here.fire(instance="b", namespace="blog")
    here.now += 4 * HOURS
    here.ask(WindowOpened(here.now, "deploy", "ci", ("namespace=shop",), ("WARNING",), here.now + 600))
    assert sent_again(here, 0, since, instance="a", namespace="shop") == []
    assert sent_again(here, 0, since, instance="b", namespace="blog") == ["reminder"]
    here.tick(601)
    assert sent_again(here, 0, since, instance="a", namespace="shop") == ["reminder"]


def test_of_critical_people_are_reminded_at_any_hour():
    """The guard covers it."""
    here = office("2026-11-28T22:45")
    since = here.fire(severity="critical").scored.alert.starts_at
    assert "reminder" in sent_again(here, 4 * HOURS, since, severity="critical")
