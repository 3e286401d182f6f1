"""Any order of things that can happen ends in the right state, and no alert stays untold past its bound.

After every batch of every sequence, in every mode and configuration, these hold (`oracle.py` has them in code):

1.  What the newest true news says fires is open, and nothing else is: old news, heard late or twice, opens and ends
    nothing. Late is a firing that is no newer than an end heard less than 60 s ago; later it is believed, to be safe.
2.  An episode starts once and ends once, and is decided in the batch that first hears of it.
3.  A guarded alert (CRITICAL, a severity nobody defined, a matcher of the operator's) is never held, suppressed or put
    into the digest: NOTIFY, or FOLD into an incident that has been told, in the batch that first hears of it. The one
    exception is a person's silence in Alertmanager.
4.  The bound: an alert that fires and is not told is held until t > now, and t is one of
    - the end of the maintenance or deployment window that covers it,
    - the next moment at which the operator's routes name somebody for its severity,
    - by its score: at most `holding.max` of its severity after it was first held, once;
    or its latest verdict is SUPPRESS, by
    - a score from 0.85 on, in mode auto, or in mode ladder with a certificate and eleven incidents voted noise,
    - a silence of ours on its way to Alertmanager, or one that hides it there.
    When t comes it is decided again in that very batch. An unknown (no score, NaN, no probability) is told.
    Mode shadow keeps back only what operators themselves do.
5.  FOLD goes into an incident of which people were told within `folding.for` (or tells them now), or gathers.
6.  `firing` of an incident is the number of open episodes in it.
7.  Whoever was told of an incident and whose channel takes resolves has got one when nothing in it fires any more, once
    it has settled; nobody was told that it is over while something told fires in it; nobody is told so twice.
8.  A key of the outbox never comes twice (it would not be sent), but for a resolve that says the same.
9.  Nobody is interrupted twice for one thing: one interruption per target, incident and batch, one `notify` unless the
    message was lost, reminders not before the repeat interval, and then for certain, unless it rests in a window or its
    route names nobody. What was lost is told with the next repeat. What clears, or is acknowledged, does not escalate.
10. A silence of ours needs its incidents voted noise, none real, room in the budget, and is never for CRITICAL.
11. What was suppressed, or cleared while it waited, is in a digest within a day.
12. The same inputs and state give the same plan; a failed commit leaves no trace; the state folded from the log, from a
    snapshot and the tail, and by a replica that was away, is the state in memory; the clock's work ends.

`SEQUENCES=10000` (make stateful) draws so many sequences; by default it is some hundreds.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from tqdm import trange

from tests.stateful.configurations import FILES
from tests.stateful.sequences import MODES, OFTEN, STEPS, Setting, breaks, drawn, happen, shrunk

MANY = int(os.environ.get("SEQUENCES", "500"))
PARTS = 10

steps = st.lists(
    st.tuples(st.sampled_from((*STEPS, *OFTEN)), st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=40
)
worlds = st.builds(
    Setting, st.sampled_from(sorted(FILES)), st.sampled_from(MODES), st.booleans(), st.integers(0, 23),
    st.integers(0, 9), st.integers(1, 10),
)  # fmt: skip


@pytest.mark.parametrize("part", range(PARTS))
def test_any_order_ends_in_the_right_state(part):
    """Sequences drawn from the numbers of this part; one that breaks a promise is shown as short as it gets."""
    for seed in trange(part, MANY, PARTS, disable=MANY < 5000, desc=f"part {part}"):
        setting, happened = drawn(seed)
        if breaks(setting, happened):
            fewer, why = shrunk(setting, happened)
            pytest.fail(f"sequence {seed}: {why}\n  {setting}\n  {fewer}")


@settings(
    max_examples=MANY // 5,
    deadline=None,
    derandomize=MANY < 5000,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(worlds, steps)
def test_any_order_that_hypothesis_finds_does_too(setting, happened):
    """It draws less evenly, and so comes to other corners."""
    note(f"{setting} {happened}")
    happen(setting, happened)


def test_a_broken_promise_is_found_and_shown_short(monkeypatch):
    """The sequences can fail: with a guard that lets everything through, a held CRITICAL is found."""
    monkeypatch.setattr("tests.stateful.configurations.Promise.guards", lambda *_: True)
    seed = next(seed for seed in range(200) if breaks(*drawn(seed)))
    setting, happened = drawn(seed)
    fewer, why = shrunk(setting, happened)
    assert "is kept back" in why
    assert len(fewer) < len(happened)
