"""Two configurations on small made-up histories, of which everybody knows what each must have told."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.config import Config
from sidecar.errors import SidecarError
from sidecar.history import HistoryAlert
from sidecar.reports import comparison
from sidecar.rules import RULES
from training import trial
from training.compare import Comparison, as_json, clusters, compare, told, verdict
from training.ledger import Count, Outcome
from training.trial import Trial, play

START = 1_795_046_400.0  # a midnight, UTC
HOUR = 3600.0
WAIT = 30.0  # Alertmanager's group_wait
WINDOW = {"name": "night work", "schedule": "0 1 * * *", "suppress": ["WARNING"]}


def alert(hours: float, truth: str | None, lasts: float = 2 * HOUR, **labels: str) -> HistoryAlert:
    named = {"alertname": "QueueStuck", "severity": "warning", "instance": "db-1"} | labels
    at = START + hours * HOUR
    return HistoryAlert(named, at, at + lasts, {}, truth)  # type: ignore[arg-type]


def config(**more: Any) -> Config:
    return Config.model_validate({"audit_sample": {"share": 0, "first_month": 0}, "mode": "shadow", **more})


def silent(*severities: str, **more: Any) -> Config:
    """Tells the default receiver of all severities but these."""
    names = {"CRITICAL", "WARNING", "INFO"} - set(severities)
    routes = {**{name: ["default"] for name in names}, **{name: [] for name in severities}}
    return config(time_based_routing={"always": {"schedule": "* * * * *", "routes": routes}}, **more)


def compared(history: list[HistoryAlert], new: Config, present: Config | None = None, since: float = 0.0) -> Comparison:
    outcomes = [
        play(history, Trial(name, one), since, lambda _: None)
        for name, one in (("old", present or config()), ("new", new))
    ]
    return compare(history, *outcomes, since)


def test_a_real_incident_that_nobody_would_be_told_of_is_listed_as_lost():
    """With its alertname, place, time, and the rule and the sentence that kept it back; noise of the same kind is saved."""
    history = [
        alert(0, "tp", severity="info"),
        alert(0.1, "tp", severity="info", alertname="Slow"),
        alert(1, "tp", instance="db-2"),
        alert(2, "fp", severity="info", instance="db-3"),
        alert(3.5, None, severity="info", instance="db-4"),
    ]
    found = compared(history, silent("INFO"))

    (case,) = found.cases
    assert (case.what, case.alertname, case.where, case.severity, case.alerts) == (
        "lost",
        "QueueStuck",
        "db-1",
        "INFO",
        2,
    )
    assert (case.began, case.told_by_present, case.told_by_new, case.delay) == (START, START + WAIT, None, None)
    assert (case.verdict, case.rule, case.in_time) == ("digest", "routing", False)
    assert "INFO" in case.reason
    assert (found.present.outcome.total, found.new.outcome.total) == (
        Count(interruptions=4, false=1, real=2, unlabelled=1, alerts=5),
        Count(interruptions=1, false=0, real=1, unlabelled=0, alerts=1),
    )
    assert (found.present.told.lost, found.new.told.lost, found.new.told.incidents) == (0, 1, 2)
    assert verdict(found) == "would have interrupted 75% less (1 times, not 4); 1 real incident lost, 0 delayed"


def test_a_real_incident_that_is_told_later_is_listed_as_delayed():
    """By how long, by which rule, and whether people still know of it within 15 minutes."""
    history = [alert(0.9, "fp", lasts=60.0, instance="db-2"), alert(1.9, "tp"), alert(30, "tp", instance="db-3")]
    found = compared(history, config(mode="ladder", time_based_routing={"maintenance_windows": [WINDOW]}))

    (case,) = found.cases
    assert (case.what, case.alertname, case.where, case.rule, case.verdict) == (
        "delayed", "QueueStuck", "db-1", "maintenance_windows", "hold",
    )  # fmt: skip
    assert "night work" in case.reason
    assert case.delay == pytest.approx(0.1 * HOUR - WAIT)
    assert case.in_time
    assert (found.new.told.told, found.new.told.late) == (2, 0)
    assert verdict(found).endswith("0 real incidents lost, 1 delayed by 6 min")


def test_what_is_told_after_a_quarter_of_an_hour_is_late():
    """An incident that is told, but not in time, counts as late and not as lost."""
    found = compared([alert(1.5, "tp")], config(mode="ladder", time_based_routing={"maintenance_windows": [WINDOW]}))

    assert [(case.what, case.in_time, case.delay) for case in found.cases] == [("delayed", False, 0.5 * HOUR - WAIT)]
    assert (found.new.told.lost, found.new.told.late, found.present.told.late) == (0, 1, 0)
    assert "over 15 minutes after it began" in comparison.case_lines(found.cases[0])[0]


def test_the_other_way_round_incidents_are_gained_and_told_sooner():
    """What only the new one tells is counted, and costs nothing."""
    history = [alert(1.5, "tp"), alert(5, "tp", severity="info", instance="db-2")]
    window = {"maintenance_windows": [WINDOW]}
    always = {"schedule": "* * * * *", "routes": {"WARNING": ["default"], "INFO": []}}
    found = compared(history, config(), config(mode="ladder", time_based_routing={"always": always, **window}))

    assert (found.cases, found.gained, found.sooner) == ([], 1, 1)
    assert verdict(found) == "would have interrupted 100% more (2 times, not 1); 0 real incidents lost, 0 delayed"


def test_without_labels_interruptions_are_shown_and_nothing_is_proven():
    """Nobody said what was real: no incident is lost, and none is safe."""
    found = compared([alert(0, None, severity="info"), alert(1, None, instance="db-2")], silent("INFO"))

    assert (found.labelled, found.cases) == (0, [])
    assert found.new.outcome.total == Count(interruptions=1, unlabelled=1, alerts=1)
    assert "nothing is proven" in verdict(found)
    assert "none of them labelled" in comparison.text(found, [], None)
    only_noise = compared([alert(0, "fp")], silent("INFO"))
    assert "no real incident is on record, so nothing is proven" in verdict(only_noise)


def test_each_receiver_and_severity_is_counted():
    """A message to two receivers interrupts twice; an alert that folds interrupts nobody and makes a message worth more."""
    receivers = [{"name": name, "log_configs": [{}, {}]} for name in ("default", "pager")]
    routes = {"always": {"schedule": "* * * * *", "routes": {"CRITICAL": ["pager", "default"], "WARNING": ["default"]}}}
    history = [
        alert(0, "tp", severity="critical"),
        alert(0.2, None, alertname="Slow"),
        alert(5, "fp", instance="db-2"),
    ]
    found = compared(history, config(receivers=receivers, time_based_routing=routes))

    new = found.new.outcome
    assert {name: one.interruptions for name, one in new.receivers.items()} == {"default": 2, "pager": 1}
    assert list(new.severities) == ["CRITICAL", "WARNING"]
    assert new.severities["CRITICAL"] == Count(interruptions=2, real=2, alerts=4)
    assert new.total.efficiency == pytest.approx(5 / 3)
    assert as_json(found)["difference"]["receivers"] == {"default": 0, "pager": -1}


def test_reminders_and_raised_severities_interrupt_again():
    """Both count as interruptions, and tell no new alert but the one that raised it."""
    reminded = compared([alert(0, "tp", lasts=5 * HOUR)], config()).new.outcome.total
    assert (reminded.interruptions, reminded.alerts) == (2, 1)  # Alertmanager's repeat_interval is four hours
    raised = compared([alert(0, "fp"), alert(0.2, "tp", severity="critical")], config()).new.outcome
    assert (raised.total.interruptions, raised.total.alerts, raised.total.false, raised.total.real) == (2, 2, 1, 1)
    assert {name: one.interruptions for name, one in raised.severities.items()} == {"CRITICAL": 1, "WARNING": 1}


def test_an_incident_is_cut_where_an_instance_was_quiet_for_half_an_hour():
    """Gaps are between an alert's end and the next one's beginning; what has no instance stands alone."""
    history = [
        alert(0, "tp", lasts=HOUR),
        alert(0.5, "fp"),
        alert(1.4, "tp", lasts=60.0),
        alert(2, "tp"),
        alert(2, "tp", instance=""),
        alert(2, "tp", instance=""),
        alert(2, "tp", instance="db-2"),
    ]

    assert clusters(history) == [[0, 2], [3], [4], [5], [6]]
    assert clusters(history, START + HOUR) == [[3], [4], [5], [6]]


def test_what_is_older_teaches_and_does_not_count():
    """Interruptions, incidents and alerts from `since` on."""
    history = [alert(0, "tp"), alert(10, "tp", severity="info", instance="db-2"), alert(12, "fp", instance="db-3")]
    found = compared(history, silent("INFO"), since=START + 9 * HOUR)

    assert (found.alerts, found.labelled, found.present.told.incidents) == (2, 2, 1)
    assert (found.present.outcome.total.interruptions, found.new.outcome.total.interruptions) == (2, 1)
    assert [case.where for case in found.cases] == ["db-2"]


def test_an_alert_that_alertmanager_never_sends_is_lost_by_its_grouping():
    """What clears within a longer group_wait is told by nobody, and the reason says so."""
    slow = config(grouping={"sophia": {"group_wait": "5m"}})
    found = compared([alert(0, "tp", lasts=120.0, domain="sophia")], slow)

    assert [(case.what, case.rule) for case in found.cases] == [("lost", "grouping")]
    assert "group_wait" in found.cases[0].reason


def test_a_rule_that_is_switched_off_does_nothing():
    """Without folding every alert is a message of its own; the other rules go on."""
    history = [alert(0, "fp"), alert(0.1, "fp", alertname="Slow")]
    with_it = play(history, Trial("new", config()), 0.0, lambda _: None)
    without = play(history, Trial("off", config(), ("temporal_correlation",)), 0.0, lambda _: None)

    assert (with_it.total.interruptions, without.total.interruptions) == (1, 2)
    assert (with_it.total.efficiency, without.total.efficiency) == (2.0, 1.0)
    assert told(history, clusters(history), without).incidents == 0


def test_every_rule_but_guard_and_routing_can_be_switched_off():
    """In the order of the registry; the two, and what does not exist, are refused with a sentence."""
    names = [rule.__name__ for rule in RULES]
    assert list(trial.switchable()) == [name for name in names if name not in ("guard", "routing")]
    trial.check_rules(trial.switchable())
    for name, said in (("guard", "CRITICAL"), ("routing", "receiver"), ("gard", "there is no rule 'gard'")):
        with pytest.raises(SidecarError, match=said):
            trial.check_rules([name])


def test_processes_say_the_same_as_one(tmp_path):
    """Two at a time, each with its own rules; progress adds up to every alert of every trial."""
    history = [alert(n, "fp", instance=f"db-{n % 3}") for n in range(12)]
    trials = [Trial("a", config()), Trial("b", silent("WARNING")), Trial("c", config(), ("temporal_correlation",))]
    passed: list[int] = []

    made = trial.run(history, trials, 0.0, passed.append)

    assert made == [play(history, one, 0.0, lambda _: None) for one in trials]
    assert sum(passed) == 36


def test_a_process_that_dies_is_an_error_in_words(monkeypatch):
    """Nothing hangs when the system takes its memory."""
    monkeypatch.setattr(trial, "_play", _die)
    with pytest.raises(SidecarError, match="ended before its time"):
        trial.run([alert(0, "fp")], [Trial("a", config())], 0.0)


def _die(_: Trial) -> Outcome:
    import os

    os._exit(9)


def test_many_cases_are_summed_up_in_the_verdict():
    """Two delays are both said, many as their range; as many interruptions are called as often."""
    history = [alert(1.5 + 24 * n, "tp", instance=f"db-{n}") for n in range(2)]
    new = config(mode="ladder", time_based_routing={"maintenance_windows": [WINDOW]})
    assert verdict(compared(history, new)) == (
        "would have interrupted as often (2 times); 0 real incidents lost, 2 delayed by 30 and 30 min"
    )
    history += [alert(1.5 + 24 * n + 0.25, "tp", instance=f"db-{n}") for n in range(2, 5)]
    assert verdict(compared(history, new)).endswith("5 delayed by 14 to 30 min")


def test_escalations_are_counted_apart():
    """A history does not say who acknowledged what: they are no interruptions here, and the table says how many there are."""
    definitions = {"WARNING": {"sla": "5m", "escalation": "immediate"}}
    found = compared([alert(0, "tp")], config(severity_definitions=definitions))

    present, new = found.present.outcome, found.new.outcome
    assert (new.total.interruptions, present.escalations, new.escalations) == (present.total.interruptions, 0, 1)
    assert comparison.rows(found)[-1] == ("escalations, if nobody acknowledges", "0", "1", "")
