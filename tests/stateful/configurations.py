"""Configurations that the sequences run under, each with what it promises, in words of its own.

`Promise` says what follows from the file for somebody who reads it; it is written by hand, never computed by the code
under test.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sidecar.config import Config

DAY = 86400.0
HOUR = 3600.0
Hours = tuple[tuple[int, int, frozenset[str]], ...]  # from, to (UTC), the severities that it concerns


class Promise(NamedTuple):
    """What people may rely on; times in seconds."""

    hold: dict[str, float] = {"WARNING": 660.0, "INFO": 660.0}  # noqa: RUF012 - copied for each; the longest wait for a score, by severity
    rests: Hours = ()  # maintenance
    undelivered: Hours = ()  # an operator's empty routes
    folds_for: float = 3600.0
    repeat: float = 14_400.0
    silence_after: int = 5  # incidents voted noise
    silences: int = 50  # at once
    guarded: frozenset[tuple[str, str]] = frozenset()  # labels that are never kept back, beside CRITICAL

    def rest_ends(self, severity: str, at: float) -> float:
        """When the maintenance that concerns a severity ends; 0 when there is none."""
        return max(
            (_end(at, until) for since, until, names in self.rests if _in(at, since, until) and severity in names),
            default=0.0,
        )

    def delivers(self, severity: str, at: float) -> bool:
        """Whether the route of a severity has receivers."""
        return not any(_in(at, since, until) and severity in names for since, until, names in self.undelivered)

    def delivers_from(self, severity: str, at: float) -> float:
        """The next full hour at which its route has receivers."""
        hour = at // HOUR * HOUR + HOUR
        while not self.delivers(severity, hour):
            hour += HOUR
        return hour

    def reminds(self, labels: dict[str, str], severity: str, at: float, mode: str) -> bool:
        """Whether people are reminded now of what they were told: not of what rests, by the operator's word."""
        rests = mode != "shadow" and self.rest_ends(severity, at) > 0.0
        return self.guards(labels, severity) or (self.delivers(severity, at) and not rests)

    def guards(self, labels: dict[str, str], severity: str) -> bool:
        """Whether an alert always reaches people."""
        return severity not in ("ERROR", "WARNING", "INFO") or any(
            labels.get(name) == value for name, value in self.guarded
        )


def _in(at: float, since: int, until: int) -> bool:
    return since * HOUR <= at % DAY < until * HOUR


def _end(at: float, until: int) -> float:
    return at // DAY * DAY + until * HOUR


RECEIVERS = [
    {
        "name": "default",
        "pagerduty_configs": [{"routing_key": "r" * 32}],
        "msteams_configs": [{"webhook_url": "https://example.logic.azure.com/x"}],
        "log_configs": [{}],
    },
    {"name": "page", "pagerduty_configs": [{"routing_key": "p" * 32}]},
    {"name": "mail", "msteams_configs": [{"webhook_url": "https://example.logic.azure.com/y", "send_resolved": False}]},
]
USUAL: dict[str, Any] = {
    "alertmanagers": [{"url": "http://127.0.0.1:9093"}],
    "audit_sample": {"share": 0, "first_month": 0},
    "receivers": RECEIVERS,
}
APART = {"labels": [], "group": False}
NIGHTS = {
    "business_hours": {
        "schedule": "0 9-17 * * *",
        "routes": {"CRITICAL": ["page", "default"], "WARNING": ["default"], "INFO": ["mail"]},
    },
    "off_hours": {
        "schedule": "0 17-9 * * *",
        "routes": {"CRITICAL": [], "WARNING": ["page"], "INFO": []},
    },
}
RESTS = [
    {"name": "noon", "schedule": "0 12-14 * * *", "timezone": "UTC", "suppress": ["WARNING", "INFO", "CRITICAL"]},
    {"name": "late", "schedule": "0 13-16 * * *", "timezone": "UTC", "suppress": ["INFO"]},
]
NIGHT = frozenset({"INFO"})
BOTH = frozenset({"WARNING", "INFO"})
FILES: dict[str, tuple[dict[str, Any], Promise]] = {
    "usual": ({}, Promise()),
    "apart": ({"folding": APART}, Promise()),
    "maintenance": (
        {"time_based_routing": {"maintenance_windows": RESTS}},
        Promise(rests=((12, 14, BOTH), (13, 16, NIGHT))),
    ),
    "nights": (
        {"time_based_routing": NIGHTS, "folding": APART},
        Promise(undelivered=((0, 9, NIGHT), (17, 24, NIGHT))),
    ),
    "brief": (
        {"holding": {"max": {"WARNING": "60s", "INFO": "0s"}}, "folding": {"for": "10m"}},
        Promise(hold={"WARNING": 60.0}, folds_for=600.0),
    ),
    "patient": (
        {"holding": {"max": {"WARNING": "6h", "INFO": "30m"}, "min_score": 0.0}, "folding": APART},
        Promise(hold={"WARNING": 21_600.0, "INFO": 1800.0}),
    ),
    "eager": (
        {
            "feedback_loop": {"automation": {"auto_silence_patterns": {"pattern_threshold": 2, "duration": "10m"}}},
            "silences": {"budget": 1},
            "folding": APART,
            "audit_sample": {"share": 0.5, "first_month": 0.5},
        },
        Promise(silence_after=2, silences=1),
    ),
    "guarded": (
        {
            "guard": {"never_suppress": {"matchers": ['service="db"']}},
            "deduplication": {"strategies": {"exact_match": {"enabled": False}}},
            "time_based_routing": {"maintenance_windows": RESTS[:1]},
        },
        Promise(rests=((12, 14, BOTH),), guarded=frozenset({("service", "db")})),
    ),
    "gathering": (
        {
            "folding": APART,
            "aggregation_rules": {
                "many": {
                    "pattern": "High.*|Queue.*",
                    "threshold": 3,
                    "window": "5m",
                    "aggregate_as": "{count} of {severity}",
                }
            },
            "flapping": {"times": 2, "window": "1h", "quiet": "10m"},
            "storm": {"min_incidents": 3, "factor": 1, "window": "2m", "quiet": "2m"},
            "suppression_budget": {"min_alerts": 3, "share": 0.5, "window": "10m"},
        },
        Promise(),
    ),
    "stormy": (
        {
            "storm": {"min_incidents": 2, "factor": 1, "window": "5m", "quiet": "5m"},
            "flapping": {"times": 3, "window": "1h", "quiet": "30m"},
            "folding": {"for": "10m"},
            "time_based_routing": {"maintenance_windows": RESTS, **NIGHTS},
        },
        Promise(
            folds_for=600.0,
            rests=((12, 14, BOTH), (13, 16, NIGHT)),
            undelivered=((0, 9, NIGHT), (17, 24, NIGHT)),
        ),
    ),
}


def configured(name: str, mode: str) -> Config:
    """The configuration of that name in a mode."""
    return Config.model_validate({**USUAL, **FILES[name][0], "mode": mode})
