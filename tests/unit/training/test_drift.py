"""What counts as drift, and what only looks like it."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from models.certificate import Certificate, Grant
from models.features import FEATURES
from tests.unit.training.history import taught
from training import drift
from training.dataset import Row, build
from training.job import certificate_of, run
from training.report import render

NOW = 1_790_000_000.0
DAY = 86400.0


def made(rows, noise):
    """A dataset of rows, `noise` by episode."""
    votes = [
        (one.episode, "ada", "false_positive" if noise[one.episode] else "useful", one.at + 60.0, False) for one in rows
    ]
    return build(rows, votes)


def weeks(
    seed=1, *, days=63, names=("A", "B"), hosts=4, share=lambda name, day: 0.8, score=lambda name, day, draw: 0.7
):
    """Each name fires on each of `hosts` instances once a day with probability 0.9, noise with the share that its day has."""
    draw, rows, noise = np.random.default_rng(seed), [], {}
    for day in range(days):
        for name in names:
            today = share(name, day) + draw.uniform(-0.1, 0.1)  # days differ
            for host in range(hosts):
                if draw.random() < 0.9:
                    at, episode = NOW - (day + draw.random() * 0.99) * DAY, f"{name}{day}{host}"
                    noise[episode] = draw.random() < today
                    rows.append(
                        Row(episode, f"i{episode}", at, "WARNING", name, [-1.0] * len(FEATURES), "fp-1", 1.0,
                            float(score(name, day, draw)), at, at + 60.0, {"instance": f"h{host}"})
                    )  # fmt: skip
    return rows, noise


def alarms(rows, noise) -> dict[str, list[str]]:
    found = drift.watch(made(rows, noise), NOW)
    every = {"": found["all"], **found["names"]}
    return {name: one["alarms"] for name, one in every.items() if one["alarms"]}


def test_what_stays_as_it_was_gives_no_alarm():
    """Of forty histories whose days differ by chance alone, their scores too, at most two have one: one in a hundred."""
    uniform = {"score": lambda name, day, draw: draw.uniform(0.5, 0.95)}
    assert sum(bool(alarms(*weeks(seed, **uniform))) for seed in range(40)) <= 2


def test_a_name_that_turned_real_gets_an_alarm_and_the_others_none():
    rows, noise = weeks(names=tuple("ABCDEFGH"), share=lambda name, day: 0.2 if name == "B" and day < 7 else 0.9)
    found = alarms(rows, noise)
    assert list(found) == ["B"]
    assert "% false in the newest week" in found["B"][0]


def test_the_alarm_ends_when_the_new_is_usual():
    """Later the change is in the time before, too."""
    rows, noise = weeks(share=lambda name, day: 0.1 if name == "B" and day < 42 else 0.9)
    assert alarms(rows, noise) == {}


def test_a_storm_on_one_instance_is_one_observation():
    """Three hundred real alerts of one day are no evidence that the name has changed."""
    rows, noise = weeks()
    storm = [rows[0]._replace(episode=f"s{n}", incident=f"s{n}", at=NOW - 1.5 * DAY - n) for n in range(300)]
    assert alarms([*rows, *storm], noise | {one.episode: False for one in storm}) == {}


def test_a_bad_day_everywhere_is_one_day():
    """An outage that hits every instance at once makes that day different, not the week."""
    assert alarms(*weeks(share=lambda name, day: 0.0 if day == 2 else 0.9)) == {}


def test_scores_that_became_wrong_give_an_alarm():
    """The labels are as they were, and the scores that served said the opposite this week."""
    rows, noise = weeks()
    told = [
        one._replace(score=0.97 if noise[one.episode] == (one.at < NOW - 7 * DAY or one.alertname != "A") else 0.03)
        for one in rows
    ]
    assert any("log-loss" in said for said in alarms(told, noise)["A"])
    assert "B" not in alarms(told, noise)
    cold = [one._replace(model="cold-start") for one in told]
    assert alarms(cold, noise) == {}


def test_scores_that_lie_elsewhere_give_an_alarm_where_weeks_are_alike():
    """The index needs earlier weeks to know what is usual, and enough observations."""

    def score(name, day, draw):
        return draw.uniform(0.6, 0.7) if day < 7 else draw.uniform(0.4, 0.8)

    many = {"names": ("A",), "hosts": 12, "score": score}
    assert ["stability index" in said for said in alarms(*weeks(**many))["A"]] == [True]
    assert alarms(*weeks(**many, days=28)) == {}, "three earlier weeks are too few"
    assert alarms(*weeks(**many | {"hosts": 6})) == {}, "too few observations"
    assert alarms(*weeks(**many | {"score": lambda name, day, draw: draw.uniform(0.4, 0.8)})) == {}


@pytest.mark.parametrize("days", [5, 9])
def test_a_young_history_is_not_judged(days):
    rows, noise = weeks(days=days, share=lambda name, day: 0.0 if day < 3 else 1.0)
    found = drift.watch(made(rows, noise), NOW)
    assert (found["names"], found["all"]["checks"], found["tests"]) == ({}, [], 0)


def test_no_votes_are_no_drift():
    assert drift.watch(made([], {}), NOW)["tests"] == 0


def test_the_alarm_level_is_shared_by_all_that_is_tested():
    found = drift.watch(made(*weeks()), NOW)
    assert found["tests"] == 6, "two kinds of test, the index needs more, for two names and for all"
    assert found["alpha"] == pytest.approx(drift.ALPHA / 6)


def test_alarms_travel_with_the_certificate_and_old_reports_still_load():
    """Each name with its sentences; a report of before has none."""
    found = {
        "names": {"A": {"checks": [], "alarms": ["one", "two"]}, "B": {"checks": [], "alarms": []}},
        "all": {"checks": [], "alarms": ["everything"]},
    }
    sent = drift.sent_back(Certificate(1.0, Grant(0.9)), found)
    assert (sent.drifted, sent.unsettled, sent.hold.threshold) == ({"A": "one; two"}, "everything", 0.9)
    assert "DRIFT over all alertnames: everything" in drift.warnings(found)[0]
    assert msgspec.convert(msgspec.to_builtins(sent), Certificate) == sent
    old = certificate_of({"certificate": {"at": 1.0, "hold": {"threshold": 0.9}, "suppress": {}}})
    assert old == Certificate(1.0, Grant(0.9))


def test_a_run_reports_drift_and_warns_of_one_over_all(tmp_path):
    """It is in the JSON, in the text and in the certificate, though the gate has its own say."""
    rows, noise = weeks(share=lambda name, day: 0.1 if day < 7 else 0.9)
    votes = [
        (one.episode, "ada", "false_positive" if noise[one.episode] else "useful", one.at + 60.0, False) for one in rows
    ]
    result = run(rows, votes, now=NOW, folder=tmp_path / "a", min_votes=50, trial=False)
    certificate = certificate_of(result.report)
    assert set(certificate.drifted) == {"A", "B"}
    assert certificate.unsettled
    assert any(warning.startswith("DRIFT over all") for warning in result.report["warnings"])
    assert "alarms, 2 alertnames could be compared\n  all alertnames: " in result.text
    assert "warning: DRIFT over all alertnames" in result.text
    assert json.loads(json.dumps(result.report, allow_nan=False)) == result.report
    without = {name: value for name, value in result.report.items() if name != "drift"}
    assert "drift  " not in render(without), "a report of before is still shown"


def test_a_run_without_drift_says_so(tmp_path):
    rows, votes, _, at = taught(60)
    result = run(rows, votes, now=at, folder=tmp_path / "a", min_votes=50, trial=False)
    assert "drift                    0 alarms" in result.text
    assert certificate_of(result.report).drifted == {}
