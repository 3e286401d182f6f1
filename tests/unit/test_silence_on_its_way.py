"""Alerts that came while a silence of ours was on its way, when nothing came of it."""

from __future__ import annotations

import pytest

from sidecar.domain import Verdict
from sidecar.events import SilenceEnded, SilenceSettled
from sidecar.pipeline import Inputs
from tests.unit.stories import World
from tests.unit.test_silences import NO_FOLDING, PATTERN, five_false


@pytest.mark.parametrize("how", ["refused", "ended"])
def test_what_it_would_have_hidden_is_told_when_it_is_sent_again(how):
    """Not only after the repeat interval: nothing hides it in Alertmanager."""
    world = World(**NO_FOLDING)
    five_false(world)
    world.replay()
    waiting = world.fire(instance="x")
    assert waiting.verdict is Verdict.SUPPRESS
    world.now += 60
    again = world.alert("", waiting.scored.alert.starts_at, None, instance="x")
    assert not world.batch(Inputs((again,))).decisions
    if how == "refused":
        world.batch(Inputs(outcomes=(SilenceSettled(world.now, PATTERN, "failed"),)))
    else:
        world.ask(SilenceEnded(world.now, PATTERN, "", "somebody ended it", 0, "revoked"))
    world.now += 60
    assert [one.verdict for one in world.batch(Inputs((again,))).decisions] == [Verdict.NOTIFY]
    assert not world.batch(Inputs((again,))).decisions
