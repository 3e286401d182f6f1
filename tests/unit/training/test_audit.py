"""What the audit sample proves, against worlds in which everything is known."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from models.evidence import most_hidden
from sidecar.rules.audit_sample import drawn
from training.audit import Case, Tally, tally, untold_share
from training.dataset import build
from training.evaluate import audited
from training.report import _share

HOUR = 3600.0


def told(n: int) -> Case:
    return Case(f"told{n}", 0.0, 1.0, drawn=False, told=True)


def kept(n: int, chance: float = 0.05, *, drawn: bool = False, later: bool = False) -> Case:
    return Case(f"kept{n}", 0.0, chance, drawn=drawn, told=drawn or later)


def test_with_nothing_kept_back_all_is_known():
    """No draw, no estimate: the share is counted, and its bounds are it."""
    found = untold_share(tally([*map(told, range(9)), Case("x", 0.0, 1.0, drawn=False, told=False)]))
    assert (found["share"], found["low"], found["high"]) == (0.1, 0.1, 0.1)


def test_nothing_known_is_no_claim():
    found = untold_share(tally([], [0.05]))
    assert (found["share"], found["low"], found["high"]) == (None, 0.0, 1.0)


def test_a_drawn_cluster_stands_for_those_it_was_drawn_from():
    """Two drawn at a tenth: some twenty were kept back, of which two were told so and three later."""
    found = untold_share(tally([*map(told, range(85)), kept(0, 0.1, drawn=True), kept(1, 0.1, drawn=True),
                                *(kept(n, 0.1, later=True) for n in range(2, 5))]))  # fmt: skip
    assert (found["told"], found["drawn"], found["released"], found["chance"]) == (85, 2, 3, 0.1)
    assert found["share"] == pytest.approx(15 / 105)
    assert found["low"] == 0.0
    most = most_hidden(2, 0.1, 0.975) - 5
    assert found["high"] == pytest.approx(most / (90 + most))


def test_none_drawn_proves_little():
    """A hundred told and nothing drawn at one in twenty leaves room for 71 more."""
    found = untold_share(tally(map(told, range(100)), [0.05]))
    assert found["share"] == 0.0
    assert found["high"] == pytest.approx(71 / 171, abs=0.01)


def test_the_least_chance_makes_the_upper_bound_and_the_greatest_the_lower():
    mixed = tally([*map(told, range(50)), *(kept(n, 0.1, drawn=True) for n in range(9))], [0.05])
    one, other = untold_share(mixed._replace(most=0.05)), untold_share(mixed._replace(least=0.1))
    found = untold_share(mixed)
    assert (mixed.least, mixed.most) == (0.05, 0.1)
    assert found["high"] == one["high"] > other["high"]
    assert found["low"] == other["low"] < one["low"]


def test_a_miss_that_is_known_otherwise_counts_at_least():
    """Somebody called real what nobody was told of."""
    found = untold_share(tally([*map(told, range(8)), kept(1), kept(2)]))
    assert found["untold"] == 2
    assert found["share"] == found["low"] == pytest.approx(0.2)
    assert found["high"] > 0.8


def test_one_draw_is_one_cluster_however_many_incidents_it_told():
    """An instance in a clock hour; in the next hour it is drawn anew."""
    twice = [kept(0, drawn=True), kept(0, drawn=True)._replace(at=HOUR - 1)]
    assert tally(twice).drawn == 1
    assert tally([*twice, kept(0, drawn=True)._replace(at=HOUR)]).drawn == 2
    assert tally([kept(0), kept(0, later=True)])[:4] == (0, 0, 1, 0)
    assert tally([kept(0), told(0)._replace(where="kept0")])[:4] == (1, 0, 0, 0)


@pytest.mark.parametrize("chance", [0.05, 0.1])
@pytest.mark.parametrize(("count", "shown"), [(0, 5), (1, 5), (3, 0), (15, 100), (60, 20), (400, 50), (3000, 1000)])
def test_the_bounds_cover_what_really_was_missed(chance, count, shown):
    """The chance that they do, over every number that can be drawn of `count` clusters that are open to it."""
    inside = above = 0.0
    for seen in range(count + 1):
        likely = float(binom.pmf(seen, count, chance))
        if likely < 1e-9:
            continue
        released = (count - seen) // 3
        found = untold_share(Tally(shown, seen, released, 0, 0, seen / chance, chance, chance))
        true = (count - seen - released) / (shown + count)
        above += likely * (true <= found["high"] + 1e-12)
        inside += likely * (found["low"] - 1e-12 <= true <= found["high"] + 1e-12)
    assert inside >= 0.95 - 1e-6
    assert above >= 0.975 - 1e-6


@pytest.mark.parametrize("share", [0.05, 0.1])
@pytest.mark.parametrize(("noisy", "quiet"), [(12, 40), (150, 150)])
def test_the_bounds_cover_worlds_in_which_the_real_draw_is_made(share, noisy, quiet):
    """Two hundred seasons of `noisy` kept-back clusters of two incidents each, in hours that change, beside `quiet` ones."""
    covered, seasons = 0, 200
    for season in range(seasons):
        cases, missed = [told(n) for n in range(quiet)], 0
        for n in range(noisy):
            at = (season * 1000 + n) * HOUR
            chosen = drawn(f"host{n % 9}", at) < share
            later = not chosen and n % 4 == 0
            missed += not chosen and not later
            cases += 2 * [Case(f"host{n % 9}", at, share, drawn=chosen, told=chosen or later)]
        found = untold_share(tally(cases, [share]))
        covered += found["low"] <= missed / (noisy + quiet) <= found["high"]
    assert covered / seasons >= 0.95 - 2 * (0.05 * 0.95 / seasons) ** 0.5


# ----------------------------------------------------------------------------------------------- from stored decisions


def rows(*kinds: tuple[str, float, bool]):
    """(label, propensity, told) of alerts an hour apart, each an incident on an instance of its own."""
    made = [
        (f"e{n}", f"i{n}", n * HOUR, "WARNING", "A", [0.0] * 43, "fp-1", propensity, 0.9, n * HOUR, n * HOUR + 60.0,
         {"instance": f"h{n}"}, was_told)
        for n, (_, propensity, was_told) in enumerate(kinds)
    ]  # fmt: skip
    votes = [
        (f"e{n}", "ada", {"real": "useful", "false": "false_positive"}[label], n * HOUR + 90.0, False)
        for n, (label, _, _) in enumerate(kinds)
        if label
    ]
    return build(made, votes)


def test_training_reports_what_was_missed_and_what_was_spared():
    """Unjudged alerts that were kept back say with which chance they might have been seen."""
    found = audited(rows(
        *[("real", 1.0, True)] * 6, ("real", 0.1, True), ("real", 0.9, True), ("", 0.95, False),
        *[("false", 1.0, True)] * 3, *[("false", 0.1, True)] * 4,
    ))  # fmt: skip
    assert (found["missed"]["told"], found["missed"]["drawn"], found["missed"]["released"]) == (6, 1, 1)
    assert found["missed"]["share"] == pytest.approx(8 / 16)
    assert found["missed"]["chance"] == pytest.approx(0.05)
    assert (found["reduction"]["told"], found["reduction"]["drawn"]) == (3, 4)
    assert found["reduction"]["share"] == pytest.approx(36 / 43)
    assert 0.0 < found["reduction"]["low"] < found["reduction"]["share"] < found["reduction"]["high"] < 1.0
    assert (found["incidents"]["hits"], found["incidents"]["trials"]) == (1, 5)
    assert (found["alerts"]["hits"], found["alerts"]["trials"]) == (1, 5)
    assert "[" in _share(found["missed"])


def test_where_everything_is_judged_nothing_is_estimated():
    """Votes on what nobody was told of: the misses are counted."""
    found = audited(rows(*[("real", 1.0, True)] * 3, ("real", 0.95, False), ("false", 0.05, True)))
    assert (found["missed"]["share"], found["missed"]["low"], found["missed"]["high"]) == (0.25, 0.25, 0.25)
    assert found["missed"]["outside"] == 1
