"""Any order of things that can happen ends in the right state.

Promises, after every batch of every sequence, in every mode and configuration:
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.stateful.configurations import FILES
from tests.stateful.world import World

STEPS = (
    "rest", "fire", "clear", "repeat", "tick", "burst", "retry", "twin", "group", "vote", "season", "score", "send",
    "lose", "vanish", "unheard", "resume", "retract", "replay", "away", "given", "restart", "switch", "follow",
    "snapshot", "sweep", "forget", "takeout", "merge", "mute", "unmute", "watch", "window", "close", "replayed", "revoke",
)  # fmt: skip
OFTEN = ("fire", "clear", "repeat", "tick", "burst", "score", "retry", "lose", "group", "takeout", "merge")
MANY = int(os.environ.get("SEQUENCES", "500"))

steps = st.lists(
    st.tuples(st.sampled_from((*STEPS, *OFTEN)), st.integers(0, 9), st.integers(0, 9)), min_size=10, max_size=60
)


@settings(
    max_examples=MANY,
    deadline=None,
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(
    file=st.sampled_from(sorted(FILES)),
    mode=st.sampled_from(["auto", "ladder", "shadow"]),
    proven=st.booleans(),
    first=st.integers(0, 9),
    few=st.integers(1, 10),
    happens=steps,
)
def test_any_order_ends_in_the_right_state(file, mode, proven, first, few, happens):
    """See above; `few` of the things, from the `first` on, take part."""
    world = World(file, mode, proven)
    for step, which, n in happens:
        note(f"{world.now:.0f} {step} {(first + which % few) % 10} {n}")
        world.do(step, first + which % few, n)
    world.shard.restart(whole=True)
    world.shard.follow()
