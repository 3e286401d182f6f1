"""What the built-in models say of alerts that somebody asks about, without deciding anything. Pure; nothing is changed.

`POST /classify` and `POST /anomaly` take one alert, a list of alerts, or a whole Alertmanager webhook; `openapi.yaml` has
the contract. Features, scorer and statistics are those of serving, as of now, so that an answer is what a webhook with
the same alert would get.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from models.explanation import reasons
from models.features import vector
from models.statistics import Usual
from sidecar import __version__
from sidecar.config import Config
from sidecar.domain import Received
from sidecar.errors import PayloadError
from sidecar.intake.webhook import DEEP, Envelope, WireAlert, readable, received_of
from sidecar.rules.base import guarded
from sidecar.scoring import UNUSUAL, Scoring
from sidecar.state import State, keys_of

MOST_ALERTS: Final = 500  # in one request: some milliseconds in which nothing else is decided
DETECTOR: Final = f"built-in-{__version__}"  # the alert-pattern-detector is code: its version is the sidecar's
EXPECTED: Final = "send an alert (labels, annotations, startsAt), a list of alerts, or an Alertmanager webhook"


class Envelopes(Struct):
    """An object: a webhook has `alerts`, an alert has `labels`."""

    alerts: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class Classification(Struct, frozen=True):
    fingerprint: str
    alertname: str
    false_positive_probability: float | None
    verdict: str  # suppress, where the probability reaches the threshold and the guard allows it, else notify
    model: str
    reasons: tuple[str, ...]


class Classifications(Struct, frozen=True):
    confidence_threshold: float
    results: tuple[Classification, ...]


class Unusual(Struct, frozen=True):
    """Starts within the last hour, the one asked about included, beside what this hour of this weekday brings."""

    anomaly_score: float
    seen: int
    expected: float
    words: str


class Spotted(Struct, frozen=True):
    fingerprint: str
    alertname: str
    anomaly_score: float
    seen: int
    expected: float
    words: str
    overall: Unusual  # the same of every alertname together
    model: str


class Anomalies(Struct, frozen=True):
    hour: int  # of the day, UTC
    weekday: str
    results: tuple[Spotted, ...]


def read(body: bytes, now: float) -> tuple[Received, ...]:
    """The alerts of a request. Raises PayloadError that says which one is wrong, and what to send."""
    body = readable(body)
    try:
        raws = _raws(body)
    except RecursionError:
        raise PayloadError(DEEP) from None
    except msgspec.DecodeError as error:
        raise PayloadError(f"{error}: {EXPECTED}") from None
    if len(raws) > MOST_ALERTS:
        raise PayloadError(f"{len(raws)} alerts are too many: send at most {MOST_ALERTS} in one request")
    return tuple([_alert(n, raw, now) for n, raw in enumerate(raws)])


def _raws(body: bytes) -> Sequence[msgspec.Raw | bytes]:
    if body.lstrip()[:1] == b"[":
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    given = msgspec.json.decode(body, type=Envelopes).alerts
    return [body] if isinstance(given, msgspec.UnsetType) else given


def _alert(n: int, raw: msgspec.Raw | bytes, now: float) -> Received:
    try:
        wire = msgspec.json.decode(raw, type=WireAlert)
        received = received_of(wire, Envelope([]), now)
    except RecursionError:
        raise PayloadError(f"alert {n}: {DEEP}") from None
    except (msgspec.DecodeError, OverflowError, ValueError) as error:
        raise PayloadError(f"alert {n}: {error}: {EXPECTED}") from None
    if not wire.labels:
        raise PayloadError(f"alert {n}: `labels` is empty: {EXPECTED}")
    return received


def classify(
    received: Sequence[Received], state: State, scoring: Scoring, config: Config, now: float
) -> Classifications:
    """How probably each alert is a false positive, were it to arrive `now`, and what that suggests."""
    alerts = [one.alert for one in received]
    keys = [keys_of(alert.fingerprint, alert.labels) for alert in alerts]
    rows = [vector(state.statistics, key, alert.annotations, now) for key, alert in zip(keys, alerts, strict=True)]
    scores, model = scoring.score(rows)
    threshold, results = config.confidence_threshold, []
    for alert, key, row, score in zip(alerts, keys, rows, scores, strict=True):
        noise = score is not None and score >= threshold and not guarded(alert.labels, key.severity, config)
        verdict = "suppress" if noise else "notify"
        results.append(Classification(alert.fingerprint, key.alertname, score, verdict, model, reasons(row)))
    return Classifications(threshold, tuple(results))


def spot(received: Sequence[Received], state: State, now: float) -> Anomalies:
    """How unusual each alert would be `now`, by itself and with everything else."""
    moment, results = datetime.fromtimestamp(now, UTC), []
    when = f"on {moment:%A}s from {moment.hour}:00 to {(moment.hour + 1) % 24}:00 UTC"
    for one in received:
        name = one.alert.labels.get("alertname", "")
        named, overall = state.statistics.usual(name, now)
        words = _in_words(named, f"of {name}" if name else "without an alertname", when)
        whole = Unusual(overall.score, overall.seen, overall.expected, _in_words(overall, "of any alert", when))
        results.append(
            Spotted(one.alert.fingerprint, name, named.score, named.seen, named.expected, words, whole, DETECTOR)
        )
    return Anomalies(moment.hour, f"{moment:%A}", tuple(results))


def _in_words(usual: Usual, whose: str, when: str) -> str:
    starts = "start" if usual.seen == 1 else "starts"
    said = f"{usual.seen} {starts} {whose} in the last hour, this one included; {usual.expected:.2g} are usual {when}"
    return f"{said}: unusually many" if usual.score >= UNUSUAL else said
