"""What a change of a rule would have done, on stories whose answer can be counted by hand."""

from __future__ import annotations

import pytest

from sidecar.reports.noise import noisy_rules
from tests.unit.reports.made import story


def rule(period, name="A"):
    return next(row for row in noisy_rules(period) if row["alertname"] == name)


def after(row, change):
    return next(one for one in (*row["longer_for"], *row["threshold"]) if one["change"] == change)


def test_a_longer_for_avoids_what_was_shorter():
    """Of four false interruptions those that cleared before it are gone; one without an end counts as long."""
    row = rule(story(*({"lasts": lasts, "said": "fp", "at": 60 * at} for at, lasts in enumerate((0.5, 1.5, 4, None)))))

    avoided = [one["false_interruptions_avoided"]["hits"] for one in row["longer_for"]]
    assert avoided == [1, 2, 3, 3, 3]
    assert {one["false_interruptions_avoided"]["trials"] for one in row["longer_for"]} == {4}


def test_an_interruption_is_avoided_only_whole():
    """An incident whose other alert goes on firing would still have told people."""
    row = rule(story({"lasts": 1, "incident": "i", "said": "fp"}, {"lasts": 30, "incident": "i", "name": "B"}))

    assert after(row, "for +5m")["false_interruptions_avoided"]["hits"] == 0
    assert after(row, "for +5m")["false_episodes_avoided"] == 1


def test_a_real_incident_is_lost_when_all_of_it_was_short():
    """A short one alone is lost, one that lasts is told later, one that another rule tells in time is neither."""
    row = rule(
        story(
            {"lasts": 3, "said": "tp", "incident": "lost"},
            {"lasts": 60, "said": "tp", "incident": "later", "at": 100},
            {"lasts": 3, "said": "tp", "incident": "others", "at": 200},
            {"lasts": 60, "said": "tp", "incident": "others", "at": 199, "name": "B"},
        )
    )

    changed = after(row, "for +5m")
    assert (changed["real_incidents_lost"]["hits"], changed["real_incidents_lost"]["trials"]) == (1, 3)
    assert changed["real_incidents_delayed"] == 1
    assert changed["real_incidents_lost"]["high"] > 0.7


@pytest.mark.parametrize(
    ("values", "limit", "spelled"), [((105, 120, 300), 100, "x 1.1"), ((9.5, 8, 3), 10, "x 0.909")]
)
def test_a_threshold_further_from_normal_avoids_what_is_near_it(values, limit, spelled):
    """Above and below alike; what says no value is told as before."""
    rows = [
        {"value": value, "threshold": limit, "said": "fp", "at": 60 * at} for at, value in enumerate((*values, *values))
    ]
    row = rule(story(*rows, {"said": "fp", "at": 1000}))

    changed = after(row, f"threshold {spelled}")
    assert (changed["false_interruptions_avoided"]["hits"], changed["false_interruptions_avoided"]["trials"]) == (2, 7)


def test_without_values_there_is_no_threshold():
    """Annotations that say nothing lead to no claim."""
    assert rule(story(*({"said": "fp", "at": at} for at in range(9))))["threshold"] == []


def test_an_inhibition_is_found_beside_the_false_cases():
    """Three of four false cases come within five minutes of B on the same instance; other instances do not count."""
    period = story(
        *({"said": "fp", "at": 60 * at} for at in range(4)),
        *({"name": "B", "at": 60 * at + 4} for at in range(3)),
        {"name": "B", "at": 180 + 6},
        {"name": "B", "at": 180, "instance": "db-2"},
        {"said": "tp", "at": 600},
    )

    found = rule(period)["inhibition"]
    assert found["source"] == "B"
    assert (found["false_beside"]["hits"], found["false_beside"]["trials"]) == (3, 4)
    assert (found["real_beside"], found["real_alone"]) == (0, 1)


def test_the_suggestion_follows_the_evidence():
    """Each kind of rule gets its own sentence, with the numbers."""
    flaky = story(*({"lasts": 1, "said": "fp", "at": 60 * at} for at in range(8)), {"said": "tp", "at": 900})
    assert rule(flaky)["suggestion"].startswith("Add 2m to its `for:`: 8 of 8 false interruptions")
    assert "no real incident of 1 lost" in rule(flaky)["suggestion"]
    never = story(*({"said": "fp", "at": 60 * at} for at in range(8)))
    assert rule(never)["suggestion"].startswith("Nobody called it real in 8 judged incidents")
    useful = story(*({"said": "tp", "at": 60 * at} for at in range(8)))
    assert rule(useful)["suggestion"].startswith("Leave it: 8 of 8")
    assert rule(story({"said": "fp"}))["suggestion"].startswith("Too few votes")


def test_a_change_that_loses_a_real_incident_is_not_suggested():
    """Where noise and real alerts are equally short, nothing is promised."""
    row = rule(
        story(*({"lasts": 1, "said": "fp", "at": 60 * at} for at in range(8)), {"lasts": 1, "said": "tp", "at": 900})
    )

    assert row["suggestion"].startswith("No change tried here")


def test_the_rule_that_wastes_most_is_first():
    """By interruptions times the sure part of the false share; one incident is one case, however many alerts it has."""
    period = story(
        *({"name": "Seldom", "said": "fp", "at": 60 * at} for at in range(3)),
        *({"name": "Often", "said": "fp", "at": 60 * at} for at in range(30)),
        *({"name": "Useful", "said": "tp", "at": 60 * at} for at in range(30)),
        *(
            {"name": "Storm", "said": "fp", "incident": "one", "interrupts": at == 0, "folds": at > 0}
            for at in range(50)
        ),
    )

    rows = noisy_rules(period)
    assert [row["alertname"] for row in rows] == ["Often", "Seldom", "Storm", "Useful"]
    assert next(row for row in rows if row["alertname"] == "Storm")["false"]["trials"] == 1


def test_disputed_votes_say_nothing():
    """An alert that one calls false and one real is no case of either."""
    period = story({"said": "fp"})
    period = story({"said": "fp"}, votes=[*period.votes, ("e0", "bob", "useful", period.until, False)])

    assert rule(period)["false"]["trials"] == 0
