"""Silences: look first, then reuse, extend or create."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from sidecar.channels.base import Request, Response
from sidecar.channels.silence import Silence, SilenceConfig
from sidecar.channels.wire import format_time
from sidecar.domain import Outcome, Rejected, Retry, Sent
from tests.messages import T0, make_silence

SILENCE = Silence()
CONFIG = SilenceConfig(url="http://am:9093/")
TWO = SilenceConfig(url=["http://am1:9093", "http://am2:9093"])
CREATED = Response(200, {}, b'{"silenceID":"new-1"}', T0)


def listed(*silences: dict[str, Any]) -> Response:
    return Response(200, {}, json.dumps(silences).encode(), T0)


def existing(ends_at: float = T0 + 90000, **changes: Any) -> dict[str, Any]:
    """Our silence as Alertmanager lists it, its matchers in another order."""
    rows = sorted(make_silence().matchers, reverse=True)
    return {
        "id": "old-1",
        "createdBy": "alertmanager-sidecar",
        "comment": "c",
        "startsAt": "2026-11-22T02:00:00.000Z",
        "endsAt": format_time(ends_at),
        "status": {"state": "active"},
        "matchers": [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in rows],
        **changes,
    }


def run(answers: list[Response], config: SilenceConfig = CONFIG) -> tuple[list[Request], Outcome]:
    talk = SILENCE.exchange(make_silence(), config, "")
    steps = [next(talk)]
    try:
        for each in answers:
            steps.append(talk.send(each))  # noqa: PERF401 StopIteration carries the outcome
    except StopIteration as end:
        return steps, end.value
    raise AssertionError("the exchange asks for more than was answered")


def test_creates_one_when_there_is_none() -> None:
    """Exact matchers by name, from now until the wanted end; the ref is the id that comes back."""
    (look, post), outcome = run([listed(), CREATED])
    assert (look.method, look.url) == ("GET", "http://am:9093/api/v2/silences")
    body = json.loads(post.body)
    assert [matcher["name"] for matcher in body["matchers"]] == ["alertname", "namespace", "service"]
    assert all(matcher["isEqual"] and not matcher["isRegex"] for matcher in body["matchers"])
    assert (body["startsAt"], body["endsAt"]) == ("2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z")
    assert "id" not in body
    assert outcome == Sent("new-1")


def test_reuses_an_equal_one_that_lasts() -> None:
    """Ours with equal matchers in any order, lasting as long, is reused without a POST."""
    steps, outcome = run([listed(existing())])
    assert (len(steps), outcome) == (1, Sent("old-1"))


def test_extends_an_equal_one_that_ends_earlier() -> None:
    """Ours that ends earlier is extended in place: its id, its start and its matchers in their own order."""
    old = existing(ends_at=T0 + 60)
    (_, post), outcome = run([listed(old), CREATED])
    body = json.loads(post.body)
    assert (body["id"], body["startsAt"], body["matchers"]) == ("old-1", old["startsAt"], old["matchers"])
    assert body["endsAt"] == "2026-11-23T03:00:00Z"
    assert outcome == Sent("new-1")


def test_creates_anew_when_it_expired_in_between() -> None:
    """A 404 to an update is answered with a new silence."""
    (_, _, post), outcome = run([listed(existing(ends_at=T0 + 60)), Response(404, {}, b'"not found"', T0), CREATED])
    assert "id" not in json.loads(post.body)
    assert outcome == Sent("new-1")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": {"state": "expired"}},
        {"createdBy": "somebody"},
        {"matchers": [{"name": "alertname", "value": "HighLatency", "isRegex": False, "isEqual": True}]},
        {"matchers": [{**row, "isRegex": True} for row in existing()["matchers"]]},
        {"matchers": None},
        {"id": None},
    ],
)
def test_others_are_left_alone(changes: dict[str, Any]) -> None:
    """An expired one, somebody else's, and one with other matchers are not ours to reuse."""
    steps, outcome = run([listed(existing(**changes)), CREATED])
    assert "id" not in json.loads(steps[1].body)
    assert outcome == Sent("new-1")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, b'"end time can\'t be in the past"', "in the past"),
        (422, b'{"code":602,"message":"comment in body"}', "comment in"),
    ],
)
def test_a_refusal_repeats_the_apis_text(status: int, body: bytes, words: str) -> None:
    """400 and 422 are for good, with what Alertmanager said."""
    outcome = run([listed(), Response(status, {}, body, T0)])[1]
    assert isinstance(outcome, Rejected)
    assert words in outcome.why


def test_the_next_peer_is_asked_when_one_does_not_answer() -> None:
    """A peer that is down is passed over; the last one's failure is a Retry."""
    steps, outcome = run([Response(0, {}, b"refused", T0), listed(), CREATED], TWO)
    assert [step.url.split("/")[2] for step in steps] == ["am1:9093", "am2:9093", "am2:9093"]
    assert outcome == Sent("new-1")
    assert isinstance(run([Response(503), Response(500)], TWO)[1], Retry)


def test_a_rejection_is_not_tried_elsewhere() -> None:
    """What one peer refuses for good is not asked of the next."""
    steps, outcome = run([Response(401, {}, b"no")], TWO)
    assert len(steps) == 1
    assert isinstance(outcome, Rejected)


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'[1, null, {"id": 1}]'])
def test_a_list_that_is_none_creates_nothing(body: bytes) -> None:
    """Unless the list can be read, nothing is created: it might be the second."""
    talk = SILENCE.exchange(make_silence(), CONFIG, "")
    next(talk)
    if body.startswith(b"["):
        assert talk.send(Response(200, {}, body, T0)).method == "POST"
        return
    with pytest.raises(StopIteration) as end:
        talk.send(Response(200, {}, body, T0))
    assert isinstance(end.value.value, Retry)


def test_one_way_to_authenticate() -> None:
    """A bearer token is sent; two credentials are an error."""
    config = SilenceConfig(url="http://am", bearer_token="tok1")
    assert SILENCE.render(make_silence(), config, "")[0].headers["Authorization"] == "Bearer tok1"
    with pytest.raises(ValidationError, match="keep one"):
        SilenceConfig(
            url="http://am", bearer_token="tok1", http_config={"basic_auth": {"username": "u", "password": "p"}}
        )


# ------------------------------------------------------------------------------------------------------------ its early end


def ended(
    answers: list[Response], config: SilenceConfig = CONFIG, silence_id: str = "old-1"
) -> tuple[list[Request], Outcome]:
    talk = SILENCE.exchange(replace(make_silence(), end=True, silence_id=silence_id), config, "")
    steps = [next(talk)]
    try:
        for each in answers:
            steps.append(talk.send(each))  # noqa: PERF401 StopIteration carries the outcome
    except StopIteration as end:
        return steps, end.value
    raise AssertionError("the exchange asks for more than was answered")


def test_it_is_expired_by_its_id() -> None:
    """One DELETE."""
    (step,), outcome = ended([Response(200, {}, b"", T0)])
    assert (step.method, step.url, step.body) == ("DELETE", "http://am:9093/api/v2/silence/old-1", b"")
    assert outcome == Sent("old-1")


@pytest.mark.parametrize("answer", [Response(404, {}, b"", T0), Response(500, {}, b'"silence not found"\n', T0)])
def test_one_that_is_not_there_is_done(answer: Response) -> None:
    """Alertmanager 0.25 answers 500 for it, 0.26 and later 404."""
    assert ended([answer])[1] == Sent("old-1")


def test_without_an_id_ours_is_looked_for() -> None:
    """It was created a moment ago, or never: by its matchers and author."""
    (look, step), outcome = ended([listed(existing()), Response(200, {}, b"", T0)], silence_id="")
    assert (look.method, step.method) == ("GET", "DELETE")
    assert outcome == Sent("old-1")
    assert ended([listed(existing(createdBy="ada"))], silence_id="")[1] == Sent("")
    assert isinstance(ended([Response(200, {}, b"{}", T0)], silence_id="")[1], Retry)


def test_an_end_that_fails_is_tried_elsewhere_and_again() -> None:
    """A peer that is down, or in trouble, is passed over."""
    steps, outcome = ended([Response(0, {}, b"refused", T0), Response(200, {}, b"", T0)], TWO)
    assert [step.url.split("/")[2] for step in steps] == ["am1:9093", "am2:9093"]
    assert outcome == Sent("old-1")
    assert isinstance(ended([Response(500, {}, b"internal", T0)])[1], Retry)
