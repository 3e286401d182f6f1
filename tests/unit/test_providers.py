"""Models of others: what they are sent, which answers are taken, and when they are left alone. Nothing here is a network."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sidecar.breaker import FAILURES, PAUSE
from sidecar.channels.base import Request, Response
from sidecar.config import Config
from sidecar.domain import Alert, Given, Received
from sidecar.errors import ProviderError
from sidecar.intake.assessment import read
from sidecar.providers import Providers, answers, question
from sidecar.telemetry import Metrics

CLASSIFIER, DETECTOR = "binary-classifier", "time-series-anomaly"


def alert(n: int, *, firing: bool = True, starts_at: float = 1_795_000_000.0) -> Received:
    labels = {"alertname": "HighLatency", "pod": f"p{n}"}
    return Received(Alert(f"f{n}", labels, {"summary": "slow"}, starts_at, None if firing else starts_at + 9), "g")


def config(*kinds: str, **changes: Any) -> Config:
    models = [
        {"name": f"their-{kind}", "type": kind, "provider": "http", "endpoint": f"http://127.0.0.1:1/{kind}", **changes}
        for kind in kinds
    ]
    return Config.model_validate({"ml_anomaly_detection": {"models": models}})


def said(*values: Any, key: str = "false_positive_probability", **more: Any) -> Response:
    results = [{"model": "v7", key: value, "reasons": ["because"], **more} for value in values]
    return Response(200, {}, json.dumps({"results": results, "confidence_threshold": 0.85}).encode())


class Endpoint:
    """Answers with what it is told to; `asked` has the requests, `now` is the clock."""

    def __init__(self, settings: Config, *responses: Response) -> None:
        self.settings, self.responses, self.asked, self.now = settings, list(responses), [], 0.0
        self.metrics = Metrics()
        self.providers = Providers(self.fetch, lambda: self.settings, self.metrics, lambda: self.now)

    async def fetch(self, request: Request) -> Response:
        self.asked.append(request)
        await asyncio.sleep(0.001)  # the network takes its time: others come meanwhile
        return self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]

    def ask(self, *received: Received) -> list[Given | None]:
        return [one.given for one in asyncio.run(self.providers.ask(received))]

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def outcomes(self, outcome: str) -> float:
        return self.metric("sidecar_provider_requests_total", model=f"their-{CLASSIFIER}", outcome=outcome)

    @property
    def state(self) -> float:
        return self.metric("sidecar_provider_breaker_state", model=f"their-{CLASSIFIER}")


# ----------------------------------------------------------------------------------------------------------- the contract


def test_what_is_sent_is_what_our_own_endpoint_takes():
    """So that one sidecar can serve another; credentials are sent and not shown."""
    (model,) = config(
        CLASSIFIER, bearer_token="s3cret", headers={"X-Team": "payments-key"}, timeout="150ms"
    ).http_models
    request = question([alert(1), alert(2)], model)
    assert read(request.body, 0.0)[1].alert == alert(2).alert
    assert (request.method, request.timeout) == ("POST", 0.15)
    assert request.headers["Authorization"] == "Bearer s3cret"
    assert request.headers["X-Team"] == "payments-key"
    assert "s3cret" not in repr(request) + repr(model)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"null", b"{}", b'{"results": null}', b'{"results": {}}', b'{"results": []}',
        b'{"results": [{"model": "v7", "false_positive_probability": NaN}]}',
        b'{"results": [{"model": "v7", "false_positive_probability": Infinity}]}',
        b'{"results": [{"model": "v7", "false_positive_probability": 1e999}]}',
        b'{"results": [{"model": "v7", "false_positive_probability": "0.5"}]}',
        b'{"results": [{"model": "v7", "false_positive_probability": true}]}',
        b'{"results": [{"model": "v7"}]}',
        b'{"results": [{"false_positive_probability": 0.5}]}',
        b'{"results": [{"model": "", "false_positive_probability": 0.5}]}',
        b'{"results": [{"model": "a\\nb", "false_positive_probability": 0.5}]}',
        b'{"results": [{"model": "\xff", "false_positive_probability": 0.5}]}',
        b'{"results": ' + b"[" * 100_000,
        said(0.5, filling="x" * 40_000).body, said(0.5, 0.5).body, said(-0.01).body, said(1.01).body, said(93).body, said(0.5, model="v" * 101).body,
        said(0.5, fingerprint="another").body, said(0.5, key="anomaly_score").body,
    ],
)  # fmt: skip
def test_a_wrong_answer_is_refused_whole(body):
    """Nonsense, another length, another order, and numbers that are no probability."""
    with pytest.raises(ProviderError, match="wrong answer") as caught:
        answers(Response(200, {}, body), [alert(1)], CLASSIFIER)
    assert caught.value.wrong


@pytest.mark.parametrize("status", [0, 204, 301, 400, 401, 429, 500, 503])
def test_an_answer_that_is_not_200_is_a_failure(status):
    """Whatever its body says."""
    with pytest.raises(ProviderError) as caught:
        answers(Response(status, {}, said(0.5).body), [alert(1)], CLASSIFIER)
    assert not caught.value.wrong


def test_an_answer_may_leave_alerts_out():
    """A null is no answer for this alert; 0 and 1 are probabilities; other keys are not read."""
    found = answers(said(0, None, 1), [alert(1), alert(2), alert(3)], CLASSIFIER)
    assert found == [(0.0, "http:v7"), None, (1.0, "http:v7")]


# ------------------------------------------------------------------------------------------------------------- the asking


def test_without_http_models_nothing_is_asked():
    """A model with an endpoint alone is not one; nor is any when ml_anomaly_detection is off."""
    plain = {"name": "m", "type": CLASSIFIER, "endpoint": "http://127.0.0.1:1/x"}
    off = {"enabled": False, "models": [plain | {"provider": "http"}]}
    for section in ({}, {"models": [plain]}, off):
        endpoint = Endpoint(Config.model_validate({"ml_anomaly_detection": section}), said(0.5))
        assert endpoint.ask(alert(1)) == [None]
        assert endpoint.asked == []


def test_what_fires_is_asked_about_in_one_request():
    """What has cleared is not, and each answer finds its alert again."""
    endpoint = Endpoint(config(CLASSIFIER), said(0.3, 0.2))
    given = endpoint.ask(alert(1, starts_at=100.0), alert(2, firing=False), alert(3, starts_at=200.0))
    assert [one and one.score for one in given] == [0.2, None, 0.3]  # those that started last are asked about first
    assert len(endpoint.asked) == 1
    assert endpoint.ask(alert(2, firing=False)) == [None]
    assert len(endpoint.asked) == 1
    assert endpoint.outcomes("answered") == 1


def test_both_models_answer_for_one_alert():
    """The probability by one and the anomaly by the other, each with its version."""
    endpoint = Endpoint(config(CLASSIFIER, DETECTOR), said(0.3), said(0.9, key="anomaly_score"))
    assert endpoint.ask(alert(1)) == [Given(0.3, "http:v7", 0.9, "http:v7")]
    assert [request.url.rpartition("/")[2] for request in endpoint.asked] == [CLASSIFIER, DETECTOR]


def test_one_model_that_fails_leaves_the_other():
    """The anomaly alone is given then."""
    endpoint = Endpoint(config(CLASSIFIER, DETECTOR), Response(500), said(0.9, key="anomaly_score"))
    assert endpoint.ask(alert(1)) == [Given(anomaly=0.9, anomaly_model="http:v7")]


def test_more_than_max_batch_is_left_to_the_built_in_model():
    """The newest alerts are asked about, and a metric counts the others."""
    endpoint = Endpoint(config(CLASSIFIER, max_batch=2), said(0.3, 0.2))
    given = endpoint.ask(alert(1, starts_at=1.0), alert(2, starts_at=3.0), alert(3, starts_at=2.0))
    assert [one and one.score for one in given] == [None, 0.3, 0.2]
    assert endpoint.metric("sidecar_provider_alerts_left_out_total", model=f"their-{CLASSIFIER}") == 1


def test_an_alert_from_the_end_of_time_is_asked_about():
    """A start that no calendar has is no reason to fail."""
    endpoint = Endpoint(config(CLASSIFIER), said(0.3))
    assert endpoint.ask(alert(1, starts_at=253_402_383_599.0)) == [Given(0.3, "http:v7")]


def test_whatever_the_network_brings_alerts_go_on():
    """An error that nobody thought of is a failure as any other."""
    endpoint = Endpoint(config(CLASSIFIER))
    assert endpoint.ask(alert(1)) == [None]  # the list of responses is empty: an IndexError
    assert endpoint.outcomes("failed") == 1


# ------------------------------------------------------------------------------------------------------------ the breaker


def test_a_dead_endpoint_is_left_alone_then_probed():
    """Closed, open after failures in a row, half open after the pause, closed by an answer; its state is a metric."""
    endpoint = Endpoint(config(CLASSIFIER), Response(0, {}, b"no answer within 0.2 s"))
    for _ in range(FAILURES + 3):
        assert endpoint.ask(alert(1)) == [None]
    assert (len(endpoint.asked), endpoint.state) == (FAILURES, 2)
    assert (endpoint.outcomes("failed"), endpoint.outcomes("skipped")) == (FAILURES, 3)

    endpoint.now = PAUSE
    endpoint.ask(alert(1))
    assert (len(endpoint.asked), endpoint.state) == (FAILURES + 1, 2)

    endpoint.now, endpoint.responses = 2 * PAUSE, [said(0.3)]
    assert endpoint.ask(alert(1)) == [Given(0.3, "http:v7")]
    assert endpoint.state == 0


def test_wrong_answers_open_it_too():
    """An endpoint that talks nonsense costs as much time as one that is down."""
    endpoint = Endpoint(config(CLASSIFIER), Response(200, {}, b"nonsense"))
    for _ in range(FAILURES + 1):
        endpoint.ask(alert(1))
    assert (endpoint.outcomes("wrong"), endpoint.outcomes("skipped")) == (FAILURES, 1)


def test_one_probe_at_a_time_goes_out():
    """While it is on its way the other webhooks do not wait for it."""
    endpoint = Endpoint(config(CLASSIFIER), Response(500))
    for _ in range(FAILURES):
        endpoint.ask(alert(1))
    endpoint.now, endpoint.responses = PAUSE, [said(0.3)]

    async def together() -> list[tuple[Received, ...]]:
        return await asyncio.gather(*(endpoint.providers.ask((alert(1),)) for _ in range(5)))

    found = [received.given for (received,) in asyncio.run(together())]
    assert found == [Given(0.3, "http:v7"), None, None, None, None]
    assert len(endpoint.asked) == FAILURES + 1


def test_a_reload_closes_the_breaker_of_a_model_that_changed_alone():
    """The same settings keep their breaker; a model that is gone takes its metric along."""
    endpoint = Endpoint(config(CLASSIFIER), Response(500))
    for _ in range(FAILURES):
        endpoint.ask(alert(1))
    endpoint.settings = config(CLASSIFIER)
    endpoint.ask(alert(1))
    assert len(endpoint.asked) == FAILURES

    endpoint.settings = config(CLASSIFIER, timeout="100ms")
    endpoint.ask(alert(1))
    assert len(endpoint.asked) == FAILURES + 1

    endpoint.settings = Config.model_validate({})
    endpoint.ask(alert(1))
    labels = {"model": f"their-{CLASSIFIER}"}
    assert endpoint.metrics.registry.get_sample_value("sidecar_provider_breaker_state", labels) is None
