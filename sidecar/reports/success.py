"""The specification's feedback metrics (8.4) and success table (10), from what was stored. Pure.

A metric is a value with its 95 % bounds and the number of cases it comes from; where the data allows no claim, the value
is None and `why` says what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any, Final

import numpy as np

from models.evidence import upper_bound
from sidecar.config.durations import format_duration
from sidecar.reports.audit import audited
from sidecar.reports.noise import Judged
from sidecar.store.reports import INTERRUPTS, Episode, Period, Withheld
from training.evaluate import share

LEAST: Final = 5  # cases under which a mean is no claim
LEAST_FOR_P99: Final = 100  # fewer have no hundredth
IN_TIME: Final = 30.0  # s: the specification's delivery time
RESAMPLES: Final = 1000
TAIL: Final = 0.025  # on each side: 95 %

Metric = dict[str, Any]


def success(period: Period) -> dict[str, Any]:
    """{"feedback": [metric], "success": [metric], "effect": [metric], "counts": {...}}; JSON values."""
    judged = Judged(period)
    told = {name for name, at in period.told_at.items() if at is not None}
    acknowledged = _acknowledged(period)
    reduction = _false_reduction(judged)
    return {
        "since": period.since,
        "until": period.until,
        "counts": _counts(period, judged, told),
        "feedback": [_responses(period, told), _marked(judged), _useful(judged, told), acknowledged],
        "success": [
            _false_rate(reduction),
            _latency(period),
            _in_time(period),
            _delivered(period),
            _attempts(period),
            {**acknowledged, "target": "< 5 min", "met": _below(acknowledged, 300.0)},
            _grouping(period, told),
            _silenced(period),
            _absent("cluster_availability", "Cluster availability", "> 99.99 %", "Alertmanager's uptime is not stored here: ask Prometheus for avg_over_time(up{job=\"alertmanager\"}[30d])"),
            _absent("rule_coverage", "Alert rule coverage", "> 95 %", "which services there are is not known here"),
        ],
        "withheld_silences": [_silence(one) for one in period.withheld],
        "effect": [_volume(period), reduction, _real_told(judged), *audited(period, judged), _shadow(period)],
    }  # fmt: skip


def _metric(name: str, title: str, unit: str, value: float | None, **more: Any) -> Metric:
    empty = {"low": None, "high": None, "trials": 0, "target": None, "met": None, "why": None, "note": None}
    return {"name": name, "title": title, "unit": unit, "value": value, **empty, **more}


def _absent(name: str, title: str, target: str | None, why: str) -> Metric:
    return _metric(name, title, "share", None, target=target, why=why)


def _share(name: str, title: str, hits: int, trials: int, why: str, **more: Any) -> Metric:
    if not trials:
        return _metric(name, title, "share", None, why=why, **more)
    found = share(hits, trials)
    bounds = {"low": found["low"], "high": found["high"], "hits": hits, "trials": trials}
    return _metric(name, title, "share", found["share"], **bounds, **more)


def _below(metric: Metric, limit: float) -> bool | None:
    """Whether it surely is, or surely is not; None while its bounds lie on both sides."""
    if metric["high"] is not None and metric["high"] < limit:
        return True
    return False if metric["low"] is not None and metric["low"] >= limit else None


def _above(metric: Metric, limit: float) -> bool | None:
    if metric["low"] is not None and metric["low"] >= limit:
        return True
    return False if metric["high"] is not None and metric["high"] < limit else None


def _counts(period: Period, judged: Judged, told: set[str]) -> dict[str, int]:
    return {
        "episodes": len(period.episodes),
        "incidents_told": len(told),
        "interruptions": _interruptions(period),
        "episodes_judged": len(judged.verdict),
        "silences_for_false_positives": period.silences,
    }


def _interruptions(period: Period) -> int:
    """Times that people were interrupted; two receivers told at once are one."""
    return len({(one.incident, one.seq) for one in period.messages if one.kind in INTERRUPTS})


# ------------------------------------------------------------------------------------------------------------------- 8.4


def _responses(period: Period, told: set[str]) -> Metric:
    incident_of = {one.episode: one.incident for one in period.episodes}
    answered = {incident_of.get(episode, "") for episode, _, _, _, back in period.votes if not back}
    return _share(
        "feedback_response_rate", "Feedback response rate", len(answered & told), len(told),
        "nobody was told of anything", note="of the incidents that people were told, those with a vote",
    )  # fmt: skip


def _marked(judged: Judged) -> Metric:
    false = [name for name, verdict in judged.verdict.items() if verdict > 0]
    return _metric(
        "false_positive_marked", "False positives marked", "count", float(len(false)), trials=len(judged.verdict),
        note=f"episodes that people call false, of {len(judged.verdict)} judged",
    )  # fmt: skip


def _useful(judged: Judged, told: set[str]) -> Metric:
    known = [name for name in told if any(one.episode in judged.verdict for one in judged.by_incident[name])]
    useful = sum(name in judged.real_incidents for name in known)
    return _share(
        "useful_alert_percentage", "Useful alerts", useful, len(known), "no incident that people were told was judged",
        note="of the judged incidents, those with a real alert",
    )  # fmt: skip


def _acknowledged(period: Period) -> Metric:
    sent: dict[str, float] = {}
    for one in period.messages:
        if one.kind == "notify" and one.state == "sent" and one.settled_at is not None:
            sent[one.incident] = min(one.settled_at, sent.get(one.incident, one.settled_at))
    waits = []
    for name, acks in period.acknowledged.items():
        told = sent.get(name)
        later = [at for at in acks if told is not None and at >= told]
        if told is not None and later:
            waits.append(min(later) - told)
    title = "Mean time to acknowledge"
    if len(waits) < LEAST:
        why = f"{len(waits)} incidents have a vote of kind ack after their message, {LEAST} are needed"
        return _metric("mean_time_to_acknowledge", title, "seconds", None, trials=len(waits), why=why)
    low, high = resampled(waits, [1.0] * len(waits))
    note = f"from the first message to the first ack; median {format_duration(round(median(waits)))}"
    return _metric(
        "mean_time_to_acknowledge", title, "seconds", fmean(waits), low=low, high=high, trials=len(waits), note=note
    )  # fmt: skip


def resampled(above: Sequence[float], below: Sequence[float]) -> tuple[float, float]:
    """95 % bounds of sum(above) / sum(below) by resampling whole pairs, with a fixed seed.

    The pairs are what is independent: alerts of one incident stand and fall together.
    """
    draw, count = np.random.default_rng(1), len(above)
    tops, bottoms = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    found = []
    for _ in range(RESAMPLES):
        places = draw.integers(0, count, count)
        found.append(tops[places].sum() / max(bottoms[places].sum(), 1e-12))
    low, high = np.quantile(found, (TAIL, 1.0 - TAIL))
    return float(low), float(high)


def _by_incident(
    name: str, title: str, hits: Iterable[Episode], among: Iterable[Episode], why: str, **more: Any
) -> Metric:
    """A share of episodes whose bounds count incidents: the wider of resampled incidents and independent episodes."""
    tops, bottoms = Counter(one.incident for one in hits), Counter(one.incident for one in among)
    found = _share(name, title, tops.total(), bottoms.total(), why, **more)
    if found["value"] is None:
        return found
    low, high = resampled([tops[incident] for incident in bottoms], list(bottoms.values()))
    return {**found, "low": min(found["low"], low), "high": max(found["high"], high)}


# -------------------------------------------------------------------------------------------------------------------- 10


def _false_rate(reduction: Metric) -> Metric:
    """What is left of the false interruptions that one message per alert would have been."""
    title, note = (
        "False positive rate",
        "false alerts that still interrupt, of those judged; one message per alert would be 100 %",
    )
    if reduction["value"] is None:
        return _metric("false_positive_rate", title, "share", None, target="< 30 %", why=reduction["why"])
    left = _metric(
        "false_positive_rate", title, "share", 1 - reduction["value"], low=1 - reduction["high"], high=1 - reduction["low"],
        trials=reduction["trials"], target="< 30 %", note=note,
    )  # fmt: skip
    return {**left, "met": _below(left, 0.3)}


def _latencies(period: Period) -> list[float]:
    return sorted(
        max(0.0, one.settled_at - one.received_at)
        for one in period.messages
        if one.state == "sent" and one.settled_at is not None
    )


def _latency(period: Period) -> Metric:
    waits, title = _latencies(period), "Alert delivery time, P99"
    if len(waits) < LEAST_FOR_P99:
        slowest = f"; the slowest took {waits[-1]:.1f} s" if waits else ""
        why = f"{len(waits)} messages were sent, a P99 needs {LEAST_FOR_P99}{slowest}"
        return _metric("delivery_latency_p99", title, "seconds", None, trials=len(waits), target="< 30 s", why=why)
    low, high = quantile_bounds(waits, 0.99)
    value = waits[min(len(waits) - 1, int(np.ceil(0.99 * len(waits))) - 1)]
    found = _metric(
        "delivery_latency_p99", title, "seconds", value, low=low, high=high, trials=len(waits), target="< 30 s",
        note=None if high is not None else "too few messages for an upper bound",
    )  # fmt: skip
    return {**found, "met": _below(found, IN_TIME)}


def quantile_bounds(ordered: Sequence[float], q: float) -> tuple[float | None, float | None]:
    """Distribution-free 95 % bounds of a quantile, from order statistics; None where there are too few values."""
    from scipy.stats import binom  # noqa: PLC0415 -- seconds of import

    count = len(ordered)
    below, above = int(binom.ppf(TAIL, count, q)), int(binom.ppf(1.0 - TAIL, count, q)) + 1
    return (ordered[below - 1] if below >= 1 else None), (ordered[above - 1] if above <= count else None)


def _in_time(period: Period) -> Metric:
    waits = _latencies(period)
    quick = sum(wait < IN_TIME for wait in waits)
    found = _share("delivered_in_time", "Delivered within 30 s", quick, len(waits), "nothing was sent", target="> 99 %")
    return {**found, "met": _above(found, 0.99)}


def _delivered(period: Period) -> Metric:
    sent, dead = (sum(one.state == state for one in period.messages) for state in ("sent", "dead"))
    waiting = sum(one.state in ("waiting", "leased") for one in period.messages)
    found = _share(
        "notification_success", "Notification success", sent, sent + dead, "nothing was sent", target="> 99.9 %",
        note=f"messages that arrived, of those that are settled; {waiting} wait",
    )  # fmt: skip
    return {**found, "met": _above(found, 0.999)}


def _attempts(period: Period) -> Metric:
    tries = sum(period.attempts.values())
    return _share(
        "attempt_success", "Attempts that succeeded", period.attempts.get("sent", 0), tries, "no attempt is on record",
        note="what failed was tried again",
    )  # fmt: skip


def _grouping(period: Period, told: set[str]) -> Metric:
    rung: Mapping[str, set[int]] = {name: set() for name in told}
    held = dict.fromkeys(told, 0)
    for message in period.messages:
        if message.kind in INTERRUPTS and message.incident in rung:
            rung[message.incident].add(message.seq)
    for one in period.episodes:
        if one.told and one.incident in held:
            held[one.incident] += 1
    pairs = [(held[name], len(rung[name])) for name in sorted(told) if rung[name]]
    title = "Alerts per notification"
    if len(pairs) < LEAST:
        why = f"{len(pairs)} incidents were told, {LEAST} are needed"
        return _metric("grouping_efficiency", title, "ratio", None, trials=len(pairs), target="> 3", why=why)
    alerts, rings = [alerts for alerts, _ in pairs], [rings for _, rings in pairs]
    low, high = resampled(alerts, rings)
    found = _metric(
        "grouping_efficiency", title, "ratio", sum(alerts) / sum(rings), low=low, high=high,
        trials=len(pairs), target="> 3", note="alerts that were told, over interruptions",
    )  # fmt: skip
    return {**found, "met": _above(found, 3.0)}


def _silenced(period: Period) -> Metric:
    return _share(
        "silences_per_alert", "Silences for false positives, per alert", min(period.silences, len(period.episodes)),
        len(period.episodes), "no alert came", note="the specification's formula, word for word; each silence hides more than one",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------- what it did, and missed


def _volume(period: Period) -> Metric:
    quiet = [one for one in period.episodes if not one.interrupts]
    folded = sum(one.folds for one in quiet)
    return _by_incident(
        "alert_volume_reduction", "Alerts that interrupted nobody", quiet, period.episodes, "no alert came",
        note=f"{folded} joined an incident that people had, {len(quiet) - folded} were told to nobody",
    )  # fmt: skip


def _false_reduction(judged: Judged) -> Metric:
    everything = [one for many in judged.by_name.values() for one in many]
    false = [one for one in everything if judged.false(one)]
    unjudged = sum(not one.told and one.episode not in judged.verdict for one in everything)
    note = (
        f"{unjudged} alerts that nobody was told of were never judged, and count for nothing here" if unjudged else None
    )
    found = _by_incident(
        "false_positive_reduction", "False alerts that interrupted nobody", [one for one in false if not one.interrupts],
        false, "no alert was called false", note=note, target="> 70 %",
    )  # fmt: skip
    return {**found, "met": _above(found, 0.7)}


def _real_told(judged: Judged) -> Metric:
    """Beside every reduction: what it cost. Only what was judged can be counted."""
    real = judged.real_incidents
    told = sum(any(one.told for one in judged.by_incident[name]) for name in real)
    hidden = upper_bound(len(real) - told, len(real), 1.0 - TAIL)
    note = (
        f"at most {hidden:.1%} of them were kept back; what nobody was told is seldom judged, so this flatters"
        if real
        else None
    )
    return _share("real_incidents_told", "Real incidents told", told, len(real), "no alert was called real", note=note)


def _shadow(period: Period) -> Metric:
    marked, held = sum(one.marked for one in period.episodes), sum(one.held for one in period.episodes)
    note = "told in shadow mode, and marked with what another mode would have done"
    if marked:
        note += f": {held} held, to be told later if they still fired, {marked - held} told to nobody"
    return _share(
        "shadow_reduction",
        "Kept back only in name (shadow mode)",
        marked,
        len(period.episodes),
        "no alert came",
        note=note,
    )


def _silence(one: Withheld) -> dict[str, Any]:
    """A silence that mode shadow would have asked for, as JSON values."""
    pattern = dict(zip(one.pattern._fields, one.pattern, strict=True))
    return {"at": one.at, "ends_at": one.ends_at, "pattern": pattern, "comment": one.comment}
