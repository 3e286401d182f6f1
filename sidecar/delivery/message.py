"""An incident as the tables have it -> the Message that a channel renders. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from models.explanation import reasons as in_words
from sidecar.config import Config
from sidecar.domain import DeliveryKind, Line, Message, Reason, severity_of, severity_rank, what_and_where
from sidecar.rules.base import moment
from sidecar.store.queries import DecisionRow, EpisodeRow, IncidentView, Over

NOTES: Final = {"reminder": "still firing"}


def compose(
    view: IncidentView,
    kind: DeliveryKind,
    dedup_key: str,
    config: Config,
    contexts: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Message:
    """What is said about an incident now, with the `contexts` of its episodes. Raises ValueError when it has no episode."""
    if not view.episodes:
        raise ValueError(f"incident {view.incident} has no episode")
    lines = tuple(
        _line(row, view.decisions.get(row.episode, []), contexts.get(row.episode, ())) for row in view.episodes
    )
    opener = min(view.episodes, key=lambda row: row.first_seen)
    decided = view.decisions.get(opener.episode, [])
    labels = opener.labels
    severity = max((*map(severity_of, [row.labels for row in view.episodes]), *view.severities), key=severity_rank)
    newest = max((made[-1] for made in view.decisions.values() if made), key=lambda one: one.at, default=None)
    return Message(
        incident=view.incident,
        kind=kind,
        dedup_key=dedup_key,
        status="firing" if view.firing else "resolved",
        severity=severity,
        domain=config.domain_of(labels),
        title=view.title or what_and_where(labels),
        common_labels=common([row.labels for row in view.episodes]),
        lines=lines,
        more=view.firing + view.resolved - len(lines),
        firing=view.firing,
        resolved=view.resolved,
        started_at=min(row.starts_at for row in view.episodes),
        score=decided[0].score if decided else None,
        reasons=_words(decided),
        rules=_rules(decided),
        marks=tuple(dict.fromkeys(mark for made in view.decisions.values() for one in made for mark in one.marks)),
        links=links_of(opener, config),
        model=decided[0].model if decided else "",
        named=bool(view.title),
        note=f"goes on in: {view.goes_on_in}" if view.goes_on_in else _note(kind, newest, view),
    )


def common(many: list[dict[str, str]]) -> dict[str, str]:
    """Labels that all of them share."""
    first, *others = many
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}


def _line(row: EpisodeRow, decided: list[DecisionRow], context: tuple[str, ...]) -> Line:
    score = next((one.score for one in decided if one.score is not None), None)
    return Line(
        row.episode, row.labels, row.annotations, row.starts_at, row.ended_at, row.generator_url, score, _words(decided),
        decided[-1].verdict if decided else "notify", _rules(decided), context,
    )  # fmt: skip


def _words(decided: list[DecisionRow]) -> tuple[str, ...]:
    observation = next((one.observation for one in decided if one.observation), None)
    return in_words(observation) if observation else ()


def _rules(decided: list[DecisionRow]) -> tuple[Reason, ...]:
    return tuple(Reason(rule, sentence) for one in decided[-1:] for rule, sentence in one.reasons)


def _note(kind: DeliveryKind, newest: DecisionRow | None, view: IncidentView) -> str:
    if kind == "raise" and newest is not None and newest.reasons:
        return _why_again(newest.reasons)
    if kind == "resolve" and view.over is not None:
        return _summary(view.resolved, view.over)
    return NOTES.get(kind, "")


def _why_again(reasons: list[tuple[str, str]]) -> str:
    """The sentence of who interrupts: the last one, but for where the alert goes."""
    if reasons[-1][0] == "routing" and len(reasons) > 1 and reasons[-2][0] != "routing":
        return reasons[-2][1]
    return reasons[-1][1]


def _summary(alerts: int, over: Over) -> str:
    """How many, where, and how long: "over: 37 alerts of 12 instances and 30 pods in 2 h"."""
    places = " and ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in over.places.items())
    what = f"{alerts} alert{'' if alerts == 1 else 's'}" + (f" of {places}" if places else "")
    return f"over: {what} in {moment(over.ended - over.began)}"


def links_of(row: EpisodeRow, config: Config) -> tuple[tuple[str, str], ...]:
    """(text, URL) of everything that a person may want to open about an alert; http and https only."""
    labels = {**row.labels, "domain": config.domain_of(row.labels)}
    given = [("Prometheus", row.generator_url), ("Runbook", row.annotations.get("runbook_url", ""))]
    given.append(("Dashboard", row.annotations.get("dashboard_url", "")))
    links = dict(config.links.of(labels)) | {text: url for text, url in given if url}
    if "View in Alertmanager" not in links and row.external_url:
        links["View in Alertmanager"] = row.external_url
    return tuple((text, url) for text, url in links.items() if url.startswith(("http://", "https://")))
