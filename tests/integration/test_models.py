"""The endpoints of the models, and models of others behind HTTP, with a running sidecar."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.app_keys import Sidecar
from sidecar.breaker import FAILURES
from sidecar.decider import restore
from sidecar.state import VERSION
from tests.acceptance.world import alert, webhook, within
from tests.fake_model import FakeModel
from tests.fakes import FakeWebhook
from tests.integration.running import Running, hooks, running

NOISY = {"severity": "WARNING", "domain": "artemis"}
DECISIONS = "SELECT verdict, score, anomaly, model FROM decisions ORDER BY seq, n"
CLASSIFIER = "their-binary-classifier"


@pytest.fixture
async def model() -> AsyncIterator[FakeModel]:
    async with FakeModel() as started:
        yield started


@pytest.fixture
async def people() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as started:
        yield started


def with_models(*models: dict[str, Any]) -> dict[str, Any]:
    unsampled = {"share": 0, "first_month": 0}  # else some hours draw an instance to be told
    return {"mode": "auto", "audit_sample": unsampled, "ml_anomaly_detection": {"models": list(models)}}


def fires(*pods: str, severity: str = "WARNING") -> bytes:
    return webhook([alert("HighErrorRate", pod=pod, **NOISY | {"severity": severity}) for pod in pods])


async def decisions(sidecar: Running) -> list[dict[str, Any]]:
    await sidecar.caught_up()
    return await sidecar.rows(DECISIONS)


async def requests(sidecar: Running, outcome: str) -> float:
    return await sidecar.metric(f'sidecar_provider_requests_total{{model="{CLASSIFIER}",outcome="{outcome}"}}')


# --------------------------------------------------------------------------------------------------- a model that answers


async def test_a_team_s_own_model_decides(database_url, people, model):
    """It is asked once per webhook, before the answer; its score and version are what is decided on and stored."""
    async with running(database_url, receivers=hooks(people), **with_models(model.settings())) as sidecar:
        model.value = 0.97
        assert await sidecar.post(fires("a", "b")) == (200, "ok")
        made = await decisions(sidecar)
        assert {(row["verdict"], row["score"], row["model"]) for row in made} == {("suppress", 0.97, "http:theirs-7")}
        assert [len(alerts) for alerts in model.asked] == [2]

        model.value = 0.03
        assert await sidecar.post(fires("c")) == (200, "ok")
        await within(10, lambda: people.bodies)
        assert people.bodies[0]["sidecar"]["model"] == "http:theirs-7"
        assert await requests(sidecar, "answered") == 2


async def test_an_anomaly_model_is_asked_too(database_url, people):
    """At once with the classifier; what it finds unusual is in the message."""
    async with FakeModel() as model, FakeModel("anomaly_score", 0.995) as other:
        settings = with_models(other.settings(), model.settings())
        async with running(database_url, receivers=hooks(people), **settings) as sidecar:
            assert await sidecar.post(fires("a")) == (200, "ok")
            (row,) = await decisions(sidecar)
            assert (row["score"], row["anomaly"]) == (0.5, 0.995)
            await within(10, lambda: people.bodies)
            assert "unusual: anomaly 0.995, says http:theirs-7" in people.bodies[0]["sidecar"]["marks"]


async def test_one_sidecar_serves_another(sqlite_url, tmp_path):
    """What POST /classify and POST /anomaly answer is what `provider: http` understands."""
    async with running(sqlite_url, server={"api_secret": "shared"}) as server:
        models = [
            {"name": kind, "type": kind, "provider": "http", "endpoint": server.url + path, "bearer_token": "shared", "timeout": "5s"}
            for kind, path in (("binary-classifier", "/classify"), ("time-series-anomaly", "/anomaly"))
        ]  # fmt: skip
        async with running(f"sqlite:///{tmp_path / 'other.db'}", **with_models(*models)) as sidecar:
            assert await sidecar.post(fires("a", "b")) == (200, "ok")
            made = await decisions(sidecar)
            assert {row["model"] for row in made} == {"http:cold-start"}
            for kind in ("binary-classifier", "time-series-anomaly"):
                sample = f'sidecar_provider_requests_total{{model="{kind}",outcome="answered"}}'
                assert await sidecar.metric(sample) == 1


async def test_a_restart_knows_what_was_said(database_url, model):
    """The log has the answers: the state that is read back equals the one in memory, with the endpoint gone."""
    holding = {"holding": {"min_score": 0.5}}
    async with running(database_url, **with_models(model.settings()), **holding) as sidecar:
        model.value = 0.97
        assert await sidecar.post(fires("a", "b", "c")) == (200, "ok")
        await sidecar.caught_up()
        parts: Sidecar = sidecar.parts
        model.fail(always=500)
        again = await restore(parts.database, 0, VERSION)
        assert again.dump() == parts.decider.state.dump()
        assert len(model.requests) == 1


# ----------------------------------------------------------------------------------------------- a model that does not

BROKEN: dict[str, Any] = {
    "nonsense": b"<html>502 Bad Gateway</html>",
    "too few": json.dumps({"results": []}).encode(),
    "NaN": b'{"results": [{"model": "v", "false_positive_probability": NaN}]}',
    "beyond 1": json.dumps({"results": [{"model": "v", "false_positive_probability": 1.2}]}).encode(),
    "below 0": json.dumps({"results": [{"model": "v", "false_positive_probability": -0.1}]}).encode(),
}


@pytest.mark.parametrize("how", [*BROKEN, "hang", "reset", "503", "redirect", "bad gzip", "gone"])
async def test_without_a_right_answer_the_built_in_model_scores(sqlite_url, model, how):
    """The webhook is answered 200 in time, people are told, and the model's version says who scored."""
    model.value = 1.0
    settings = model.settings(timeout="300ms")
    if how in BROKEN:
        model.body = BROKEN[how]
    elif how == "bad gzip":
        model.body, model.headers = b"no gzip", {"Content-Encoding": "gzip"}
    elif how == "redirect":
        model.fail(always=(302, {"Location": model.url}, ""))
    elif how == "gone":
        settings["endpoint"] = "http://127.0.0.1:1/classify"
    else:
        model.fail(always=503 if how == "503" else how)
    async with running(sqlite_url, **with_models(settings)) as sidecar:
        began = time.monotonic()
        assert await sidecar.post(fires("a")) == (200, "ok")
        assert time.monotonic() - began < 10.0
        (row,) = await decisions(sidecar)
        assert (row["verdict"], row["model"]) == ("notify", "cold-start")
        assert await requests(sidecar, "wrong" if how in BROKEN else "failed") == 1


async def test_a_slow_endpoint_delays_the_answer_by_its_timeout_at_most(sqlite_url, model):
    """Then, after some failures in a row, not at all: nobody asks it until the pause is over."""
    model.delay = 30.0
    async with running(sqlite_url, **with_models(model.settings(timeout="250ms"))) as sidecar:
        took = []
        for n in range(FAILURES + 3):
            began = time.monotonic()
            assert await sidecar.post(fires(f"p{n}")) == (200, "ok")
            took.append(time.monotonic() - began)
        assert min(took[:FAILURES]) >= 0.25
        assert max(took) < 10.0, "the endpoint answers after 30 s"
        assert await sidecar.metric(f'sidecar_provider_breaker_state{{model="{CLASSIFIER}"}}') == 2
        assert (await requests(sidecar, "failed"), await requests(sidecar, "skipped")) == (FAILURES, 3)


async def test_webhooks_do_not_wait_for_each_other_s_answers(sqlite_url, model):
    """Ten that come at once wait for a slow endpoint together, not one after the other."""
    model.delay = 0.4
    async with running(sqlite_url, **with_models(model.settings(timeout="2s"))) as sidecar:
        began = time.monotonic()
        answers = await asyncio.gather(*(sidecar.post(fires(f"p{n}")) for n in range(10)))
        assert time.monotonic() - began < 3.2, "one after the other takes 4 s"
        assert set(answers) == {(200, "ok")}
        assert {row["model"] for row in await decisions(sidecar)} == {"http:theirs-7"}


async def test_a_wrong_token_is_a_failure_and_stays_secret(sqlite_url, capfd):
    """The right one is sent; neither is in a log line."""
    async with FakeModel(token="r1ght-token") as model:
        async with running(sqlite_url, **with_models(model.settings(bearer_token="wr0ng-token"))) as sidecar:
            assert await sidecar.post(fires("a")) == (200, "ok")
            assert await requests(sidecar, "failed") == 1
        assert "wr0ng-token" not in "".join(capfd.readouterr())
        assert model.requests[0].headers["authorization"] == "Bearer wr0ng-token"


async def test_a_poisoned_version_is_shown_inert(sqlite_url, people, model):
    """A version is a stranger's text: it goes into messages as text, and is refused with control characters."""
    model.version = "<!channel> *v* `"
    async with running(sqlite_url, receivers=hooks(people), **with_models(model.settings())) as sidecar:
        assert await sidecar.post(fires("a")) == (200, "ok")
        (row,) = await decisions(sidecar)
        assert row["model"] == "http:<!channel> *v* `"
        model.version = "v\n7"
        assert await sidecar.post(fires("b")) == (200, "ok")
        assert await requests(sidecar, "wrong") == 1


# -------------------------------------------------------------------------------------------------------- our own endpoints


async def ask(sidecar: Running, path: str, body: Any, **how: Any) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, text = await sidecar.request("POST", path, data=data, **how)
    return status, json.loads(text)


async def test_classify_says_what_the_webhook_then_decides_on(database_url):
    """The same alert, asked about and then sent: the same score and model, and asking left nothing behind."""
    async with running(database_url) as sidecar:
        assert await sidecar.post(fires("a", "b")) == (200, "ok")
        new = webhook([alert("HighErrorRate", pod="c", **NOISY)])
        status, said = await ask(sidecar, "/classify", new)
        assert status == 200
        assert await sidecar.count("SELECT count(*) FROM log") == 1
        assert await sidecar.post(new) == (200, "ok")
        made = (await decisions(sidecar))[-1]
        (result,) = said["results"]
        assert result["model"] == made["model"] == "cold-start"
        assert result["false_positive_probability"] == pytest.approx(made["score"], abs=1e-3)  # a moment later
        status, said = await ask(sidecar, "/anomaly", new)
        assert (status, said["results"][0]["seen"], said["results"][0]["overall"]["seen"]) == (200, 4, 4)


@pytest.mark.parametrize("path", ["/classify", "/anomaly", "/feedback", "/api/v2/feedback"])
async def test_they_need_the_api_secret(sqlite_url, path):
    """As Bearer token or Basic password; the webhook's secret is another."""
    async with running(sqlite_url, server={"api_secret": "right", "webhook_secret": "other"}) as sidecar:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer other"}):
            status, said = await ask(sidecar, path, {"labels": {"alertname": "A"}}, headers=given)
            assert (status, "api_secret" in said["error"]) == (401, True)
        status, _ = await ask(sidecar, path, {"labels": {"alertname": "A"}}, headers={"Authorization": "Bearer right"})
        assert status in {200, 400}  # a vote needs more than labels


@pytest.mark.parametrize("path", ["/classify", "/anomaly"])
async def test_what_they_cannot_answer_is_400_or_503(sqlite_url, path):
    """With what to do about it; a body beyond the limit as well, and while starting or stopping it is 503."""
    async with running(sqlite_url, server={"body_limit": "64KiB"}) as sidecar:
        for body in (
            b"",
            b"nonsense",
            b'{"labels": 3}',
            b" " * 70_000,
            json.dumps([{"labels": {"a": "b"}}] * 501).encode(),
        ):
            status, said = await ask(sidecar, path, body)
            assert status == 400, body[:20]
            assert said["error"]
        sidecar.parts.ready = False
        status, _ = await ask(sidecar, path, {"labels": {"a": "b"}})
        assert status == 503
        sidecar.parts.ready = True


async def test_as_many_as_allowed_are_answered_quickly(sqlite_url):
    """Five hundred alerts hold the loop for a fraction of a second, in which no webhook waits long."""
    async with running(sqlite_url) as sidecar:
        many = [{"labels": {"alertname": f"A{n % 50}", "pod": f"p{n}"}} for n in range(500)]
        for path in ("/classify", "/anomaly"):
            began = time.monotonic()
            status, said = await ask(sidecar, path, many)
            assert (status, len(said["results"])) == (200, 500)
            assert time.monotonic() - began < 5.0


async def test_feedback_has_two_paths(sqlite_url):
    """The specification's beside the API's: the same handler, the same votes."""
    async with running(sqlite_url) as sidecar:
        assert await sidecar.post(fires("a")) == (200, "ok")
        await sidecar.caught_up()
        (row,) = await sidecar.rows("SELECT episode FROM episodes")
        for who, path in (("ada", "/feedback"), ("bob", "/api/v2/feedback")):
            vote = {"who": who, "kind": "false_positive", "episodes": [row["episode"]]}
            assert await ask(sidecar, path, vote) == (200, {"counted": 1})
        await sidecar.caught_up()
        assert await sidecar.count("SELECT count(*) FROM votes") == 2
