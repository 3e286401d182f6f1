"""Sequences of steps, drawn from a seed: hypothesis draws them too, but a plain generator meets more in the same time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from tests.stateful.configurations import FILES
from tests.stateful.world import World

MODES = ("auto", "ladder", "shadow")
STEPS = (
    "rest", "fire", "clear", "repeat", "tick", "burst", "retry", "twin", "group", "vote", "season", "score", "send",
    "lose", "vanish", "unheard", "resume", "retract", "replay", "away", "given", "restart", "switch", "follow",
    "snapshot", "sweep", "forget", "takeout", "merge", "mute", "unmute", "watch", "window", "close", "replayed", "revoke",
)  # fmt: skip
OFTEN = ("fire", "clear", "repeat", "tick", "burst", "score", "retry", "lose", "group", "season", "replayed", "send")
Step = tuple[str, int, int]


class Setting(NamedTuple):
    """In what world a sequence happens."""

    file: str
    mode: str
    proven: bool
    hour: int  # hours from 11:06 UTC at which it begins
    first: int  # `few` things from this one on take part: the fewer, the more happens to each
    few: int


def drawn(seed: int) -> tuple[Setting, list[Step]]:
    """The same setting and steps for the same seed."""
    choose = random.Random(seed)
    setting = Setting(
        choose.choice(sorted(FILES)),
        choose.choice(MODES),
        choose.random() < 0.7,
        choose.randrange(24),
        choose.randrange(10),
        choose.randint(1, 10),
    )
    length = choose.randint(10, 60)
    kinds = (*STEPS, *OFTEN)
    return setting, [(choose.choice(kinds), choose.randrange(10), choose.randrange(10)) for _ in range(length)]


def happen(setting: Setting, steps: Sequence[Step]) -> None:
    """Raises Broken at the first promise that does not hold."""
    world = World(setting.file, setting.mode, setting.proven, setting.hour)
    for step, which, n in steps:
        world.do(step, setting.first + which % setting.few, n)
    world.shard.restart(whole=True)
    world.shard.follow()


def breaks(setting: Setting, steps: Sequence[Step]) -> str:
    """What does not hold, in a sentence; "" when all does."""
    try:
        happen(setting, steps)
    except Exception as error:  # noqa: BLE001 - whatever it is, the sequence that leads to it is wanted
        return f"{type(error).__name__}: {error}"
    return ""


def shrunk(setting: Setting, steps: list[Step]) -> tuple[list[Step], str]:
    """Fewer steps after which something still does not hold, and what."""
    size = len(steps) // 2
    while size:
        start = 0
        while start < len(steps):
            fewer = steps[:start] + steps[start + size :]
            if breaks(setting, fewer):
                steps = fewer
            else:
                start += size
        size //= 2
    return steps, breaks(setting, steps)
