"""Alerts as they arrive: each becomes an event that the state folds, and what is to be decided becomes a candidate."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from models.features import vector
from models.statistics import Keys, Seen
from sidecar.domain import Alert, Decision, Reason, Received, Scored, Verdict, episode_id, severity_of, severity_rank
from sidecar.draft import Draft, scored_as
from sidecar.events import EpisodeEnded, EpisodeMuted, EpisodeSeen, EpisodeStarted, EpisodeUnmuted
from sidecar.rules.base import TELLS, Facts, guarded, open_incident, repeat, shared
from sidecar.rules.maintenance import covers
from sidecar.state import Episode, keys_of

FORGET_SECONDS: Final = 60 * 86400.0  # idle keys leave the memory after this long
LATE_SECONDS: Final = 60.0  # after an end was received; the slowest of four Alertmanagers waits 45 s for the others


def observe(received: Received, draft: Draft) -> None:
    """Take in one alert, out of a webhook, or with `muted` as the watcher saw it in Alertmanager."""
    known = draft.state.episodes.get(received.alert.fingerprint)
    if received.alert.starts_at <= 0:
        received = _dated(received, known, draft.now)
    alert = received.alert
    if alert.ends_at is not None:
        _observe_end(received, known, draft)
    elif known is None or _is_new(alert, known, draft.now):
        if known is not None and known.ended_at is not None and alert.starts_at <= known.starts_at:
            received = replace(
                received, alert=replace(alert, starts_at=draft.now)
            )  # the old id names the ended episode
        _observe_start(received, known, draft)
    elif known.ended_at is None:
        if received.muted:
            draft.record(EpisodeSeen(draft.now, known.episode, alert.fingerprint, alert.starts_at))
        elif not draft.state.muted or not _unmuted(received, known, draft):
            _observe_repeat(received, known, draft)
    if received.muted:
        _mute(received, draft)


def _dated(received: Received, known: Episode | None, now: float) -> Received:
    """An alert without a start belongs to the firing that is known, or starts now."""
    starts_at = known.starts_at if known is not None and known.ended_at is None else now
    return replace(received, alert=replace(received.alert, starts_at=starts_at))


def _is_new(alert: Alert, known: Episode, now: float) -> bool:
    """Whether this firing is another episode than the newest one known of its fingerprint.

    Overlapping firings are one, and Alertmanager can move startsAt back. A start after the last time the old one was
    seen means that its end was never sent (Alertmanager sends none for a silenced alert). One that has just ended and is
    sent again with the same or an earlier start is a late retry, or another Alertmanager's; later it fires again: when
    Prometheus was out of reach for a while, Alertmanager resolves and then goes on with the startsAt it had.
    """
    if known.ended_at is not None:
        after = alert.starts_at > min(known.starts_at, known.ended_at)  # it may be named for when it was heard of again
        return after or now - known.last_seen > LATE_SECONDS
    return alert.starts_at > max(known.last_seen, known.starts_at)


def _observe_start(received: Received, known: Episode | None, draft: Draft) -> None:
    alert = received.alert
    keys = keys_of(alert.fingerprint, alert.labels)
    seen = draft.state.statistics.look(keys)
    draft.observations.append(vector(draft.state.statistics, keys, alert.annotations, draft.now, seen))
    draft.candidates.append((received, keys, _start(received, keys, known, draft, seen)))


def _start(received: Received, keys: Keys, known: Episode | None, draft: Draft, seen: Seen | None = None) -> str:
    """Record the start of an episode, and the end of the one before it that was never sent; returns its id."""
    alert = received.alert
    if known is not None and known.ended_at is None:
        draft.ended.append(known)
        draft.record(EpisodeEnded(draft.now, known.episode, alert.fingerprint, min(alert.starts_at, draft.now)))
        seen = None  # the end changed what was looked up
    forgotten = known is None and draft.now - alert.starts_at > FORGET_SECONDS  # the tables may know one of that name
    episode = episode_id(alert.fingerprint, draft.now if forgotten else alert.starts_at)
    event = EpisodeStarted(
        draft.now, episode, alert.fingerprint, alert.starts_at, alert.labels, alert.annotations, received.group_key,
        alert.generator_url, received.external_url,
    )  # fmt: skip
    draft.state.start(event, keys, seen)
    draft.events.append(event)
    return episode


def _observe_repeat(received: Received, known: Episode, draft: Draft) -> None:
    alert = received.alert
    every = draft.config.group_for(draft.config.domain_of(alert.labels)).repeat_interval
    needs = repeat(known, Facts(draft.now, draft.config, draft.state), every)
    draft.record(EpisodeSeen(draft.now, known.episode, alert.fingerprint, alert.starts_at))
    if needs == "decide":
        draft.candidates.append((received, known.keys, known.episode))
        draft.observations.append(vector(draft.state.statistics, known.keys, alert.annotations, draft.now))
    elif needs == "remind" and not _rests(alert, draft):
        scored = scored_as(draft.config, received, known.keys, known.episode)
        draft.ready.append(_reminder(scored, known, draft))


def _rests(alert: Alert, draft: Draft) -> bool:
    """Whether nobody is reminded of it now: a window covers it, or its route names nobody. A later repeat does."""
    config, labels, severity = draft.config, alert.labels, severity_of(alert.labels)
    if guarded(labels, severity, config):
        return False
    if not config.route(severity, labels, draft.now).receivers:
        return True
    if config.mode == "shadow":
        return False
    open_now = (window for window in draft.state.windows.values() if window.ends_at > draft.now)
    return config.maintenance(severity, draft.now) is not None or any(
        covers(window, severity, labels) for window in open_now
    )


def _mute(received: Received, draft: Draft) -> None:
    """Record the silences that are new to what is known of it."""
    alert, state = received.alert, draft.state
    known, muted = state.episodes.get(alert.fingerprint), state.muted.get(alert.fingerprint)
    if known is None or known.ended_at is not None:
        return
    here = {one.silence_id for one in muted.by} if muted is not None and muted.episode == known.episode else set()
    for one in received.muted:
        if one.silence_id not in here:
            name, whole = one.silence_id, None if here else alert
            event = EpisodeMuted(
                draft.now,
                known.episode,
                alert.fingerprint,
                name,
                one.created_by,
                one.ends_at,
                whole,
                received.group_key,
            )
            draft.record(event)


def _unmuted(received: Received, known: Episode, draft: Draft) -> bool:
    """Whether it is decided anew: Alertmanager sends it, so no silence hides it any more, and nobody was told of it."""
    muted = draft.state.muted.get(received.alert.fingerprint)
    if muted is None or muted.episode != known.episode:
        return False
    for one in muted.by:
        draft.record(EpisodeUnmuted(draft.now, known.episode, received.alert.fingerprint, one.silence_id))
    if known.verdict in TELLS or not known.verdict:
        return False
    draft.record(EpisodeSeen(draft.now, known.episode, received.alert.fingerprint, received.alert.starts_at))
    draft.candidates.append((received, known.keys, known.episode))
    draft.observations.append(vector(draft.state.statistics, known.keys, received.alert.annotations, draft.now))
    return True


def end_unsent(event: EpisodeEnded, draft: Draft) -> None:
    """The watcher saw it end, and Alertmanager may never say so; not if it was seen firing since."""
    known = draft.state.episodes.get(event.fingerprint)
    if known is None or known.episode != event.episode or known.ended_at is not None:
        return
    if known.last_seen <= event.ends_at:
        _end(known, event.ends_at, draft)


def end_forgotten(before: float, draft: Draft) -> None:
    """What nobody has sent since `before` is over: else people's message of it would stay open for good."""
    for known in [one for one in draft.state.episodes.values() if one.ended_at is None and one.last_seen < before]:
        _end(known, known.last_seen, draft)


def _reminder(scored: Scored, known: Episode, draft: Draft) -> Decision:
    incident = draft.state.incidents.get(known.incident)
    receivers = tuple(one.receiver for one in incident.reached) if incident is not None else ()
    reason = Reason("exact_deduplication", "still firing after the repeat interval")
    return Decision(scored, Verdict.FOLD, known.incident, (reason,), receivers, interrupts=True)


def _observe_end(received: Received, known: Episode | None, draft: Draft) -> None:
    alert = received.alert
    ends_at, before = alert.ends_at if alert.ends_at is not None else draft.now, known
    if known is not None and (known.ended_at is not None or alert.starts_at > max(known.last_seen, known.starts_at)):
        if known.ended_at is not None and alert.starts_at <= max(known.starts_at, known.ended_at):
            return  # sent again, or by another Alertmanager: they differ in the startsAt of one firing
        known = None
    elif known is not None and ends_at <= known.follows:
        return  # the end of the firing before this one, late
    if known is None:  # its firing never reached us
        keys = keys_of(alert.fingerprint, alert.labels)
        episode = _start(received, keys, before, draft)
        draft.ready.append(_unheard(scored_as(draft.config, received, keys, episode), f"i-{episode}", draft))
        known = draft.state.episodes[alert.fingerprint]
    _end(known, ends_at, draft)


def _end(known: Episode, ends_at: float, draft: Draft) -> None:
    fingerprint = known.keys.fingerprint
    hold = draft.state.holds.get(fingerprint)
    draft.ended.append(known)
    draft.record(EpisodeEnded(draft.now, known.episode, fingerprint, ends_at))
    if hold is not None and known.verdict == Verdict.HOLD:
        scored = scored_as(draft.config, Received(hold.alert, hold.group_key), known.keys, known.episode)
        draft.ready.append(_cleared(scored, known, draft))


def _unheard(scored: Scored, incident: str, draft: Draft) -> Decision:
    """What cleared before it was first heard of, between two of Alertmanager's messages: told only if it is guarded."""
    reason = Reason("intake", "it had cleared before it was first heard of")
    severity, labels = scored.pattern.severity, scored.alert.labels
    receivers = draft.config.route(severity, labels, draft.now).receivers
    if not guarded(labels, severity, draft.config):
        return Decision(scored, Verdict.DIGEST, incident, (reason,), receivers)
    receivers = receivers or (draft.config.default,)
    found = open_incident(scored.keys[:-1], Facts(draft.now, draft.config, draft.state))
    known = draft.state.incidents.get(found[1]) if found is not None else None
    joins = found is not None and known is not None and known.firing > 0 and severity_rank(severity) <= known.rank
    verdict, name = (Verdict.FOLD, found[1]) if joins and found is not None else (Verdict.NOTIFY, incident)
    return Decision(scored, verdict, name, (reason, Reason("guard", f"{severity} is never kept back")), receivers)


def _cleared(scored: Scored, known: Episode, draft: Draft) -> Decision:
    """What cleared while it was held joins the incident that people have by now, else it goes to the digest."""
    found = open_incident(scored.keys[:-1], Facts(draft.now, draft.config, draft.state))
    if found is None:
        route = draft.config.route(scored.pattern.severity, scored.alert.labels, draft.now)
        reasons = (Reason("hold", "it cleared while it was held"),)
        return Decision(scored, Verdict.DIGEST, known.incident, reasons, route.receivers)
    key, name, _ = found
    reason = Reason("hold", f"it cleared while it was held, and people have been told of {shared(key)} by now")
    told = draft.state.incidents[name].reached
    return Decision(scored, Verdict.FOLD, name, (reason,), tuple([one.receiver for one in told]))
