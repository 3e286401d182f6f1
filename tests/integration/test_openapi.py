"""The contract in openapi.yaml is what the sidecar does: its routes, its examples, and its real answers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import sidecar as package
from sidecar.config import Config
from sidecar.domain import FeedbackKind
from sidecar.intake import feedback, regroup, webhook, windows
from sidecar.intake.assessment import MOST_ALERTS, read
from sidecar.intake.handlers import routes
from sidecar.links import Answer, sign
from tests.acceptance.world import alert
from tests.acceptance.world import webhook as webhook_body
from tests.fakes import FakeSlack
from tests.integration.running import Running, running

TEXT = (Path(webhook.__file__).parent / "openapi.yaml").read_text("utf-8")
CONTRACT: dict[str, Any] = yaml.safe_load(TEXT)
INCIDENT = "/api/v2/incidents/{incident}"
WINDOW = "/api/v2/windows/{name}"
METHODS = ("get", "put", "post", "delete", "patch")


def resolved(node: Any) -> Any:
    """What a node says, or what it refers to does."""
    while isinstance(node, dict) and "$ref" in node:
        found: Any = CONTRACT
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in CONTRACT["paths"].items():
        for method, operation in resolved(item).items():
            if method in METHODS:
                yield method.upper(), path, operation


OPERATIONS = {(method, path): operation for method, path, operation in operations()}


def mistakes(value: Any, schema: Any) -> list[str]:
    """What a schema of the contract says against a value."""
    validator = Draft202012Validator({**schema, "components": CONTRACT["components"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body that the contract speaks of: where, and its media type's object."""
    for (method, path), operation in OPERATIONS.items():
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for name, body in bodies.items():
            for media in resolved(body).get("content", {}).values():
                yield f"{method} {path} {name}", media


def test_every_route_is_in_it_and_none_that_is_not_there():
    """The webhook's odd spellings, which forgive slashes, are its two plain ones."""
    served = {(route.method, route.path) for route in routes() if not route.path.startswith("/{_:")}
    assert set(OPERATIONS) == served


def test_its_schemas_are_schemas():
    """Each of them, where it stands."""
    for schema in CONTRACT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for where, media in contents():
        Draft202012Validator.check_schema(media["schema"]), where


def test_its_references_lead_somewhere():
    """And everything that can be referred to is."""
    named = set(re.findall(r'\$ref: "#/([^"]+)"', TEXT))
    for name in named:
        assert resolved({"$ref": f"#/{name}"}) is not None
    kept = {
        f"components/{kind}/{name}" for kind in CONTRACT["components"] if kind != "securitySchemes"
        for name in CONTRACT["components"][kind]
    }  # fmt: skip
    assert kept == named


def test_every_example_validates():
    """Each documented body is what its schema says, and there are some of every kind."""
    count = 0
    for where, media in contents():
        for name, example in media.get("examples", {}).items():
            assert mistakes(resolved(example)["value"], media["schema"]) == [], (where, name)
            count += 1
    assert count >= 20


def test_the_examples_of_requests_are_taken():
    """By the very parsers of the endpoints."""
    for path, parse in (
        ("/webhook", lambda body: webhook.parse(body, 0.0).received),
        ("/classify", lambda body: read(body, 0.0)),
        ("/anomaly", lambda body: read(body, 0.0)),
        ("/feedback", feedback.read),
        (f"{INCIDENT}/take-out", regroup.read_take_out),
        (f"{INCIDENT}/merge", regroup.read_merge),
        ("/api/v2/windows", lambda body: windows.read(body, Config(), 0.0)),
    ):
        media = resolved(OPERATIONS["POST", path]["requestBody"])["content"]["application/json"]
        for example in media["examples"].values():
            assert parse(json.dumps(resolved(example)["value"]).encode()), path


def test_its_limits_and_version_are_those_of_the_code():
    """Numbers that stand in two places."""
    (asked,) = [
        each for each in CONTRACT["components"]["requestBodies"]["Asked"]["content"]["application/json"]["schema"]["oneOf"]
        if "maxItems" in each
    ]  # fmt: skip
    vote = CONTRACT["components"]["schemas"]["Vote"]["properties"]
    assert asked["maxItems"] == MOST_ALERTS
    assert vote["who"]["maxLength"] == feedback.LONGEST_NAME
    assert vote["comment"]["maxLength"] == feedback.LONGEST_COMMENT
    assert vote["episodes"]["maxItems"] == feedback.MOST_EPISODES
    assert vote["kind"]["enum"] == list(feedback.FeedbackKind)
    taken = CONTRACT["components"]["schemas"]["TakeOut"]["properties"]
    assert taken["episodes"]["maxItems"] == regroup.MOST_EPISODES
    assert taken["who"]["maxLength"] == feedback.LONGEST_NAME
    window = CONTRACT["components"]["schemas"]["WindowAsked"]["properties"]
    assert window["name"]["maxLength"] == windows.LONGEST_NAME
    assert window["owner"]["maxLength"] == windows.LONGEST_OWNER
    assert window["comment"]["maxLength"] == windows.LONGEST_COMMENT
    assert window["matchers"]["maxItems"] == windows.MOST_MATCHERS
    assert (window["severities"]["default"], window["lease"]["default"]) == (list(windows.SEVERITIES), windows.LEASE)
    assert CONTRACT["info"]["version"] == package.__version__


# --------------------------------------------------------------------------------------------------------- real answers


class Checked:
    """Sends requests, and holds each answer against the contract; `seen` are the (method, path, status) that came."""

    def __init__(self, sidecar: Running) -> None:
        self.sidecar = sidecar
        self.seen: set[tuple[str, str, int]] = set()

    async def __call__(
        self, method: str, path: str, body: Any = None, secret: str = "right", *, filled: str = "", **headers: str
    ) -> int:
        """`filled` is the path with its parameters filled in."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        how = {"Authorization": f"Bearer {secret}", **headers}
        session, url = self.sidecar.client.session, self.sidecar.url + (filled or path)
        async with session.request(method, url, data=data, headers=how, allow_redirects=False) as answer:
            path = WINDOW if path.startswith("/api/v2/windows/") else path.partition("?")[0]
            self.seen.add((method, path, answer.status))
            known = OPERATIONS[method, path]["responses"]
            assert str(answer.status) in known, (method, path, answer.status)
            ((kind, media),) = resolved(known[str(answer.status)])["content"].items()
            assert answer.content_type == kind, (method, path, answer.status)
            text = await answer.text()
            value = json.loads(text) if kind == "application/json" else text
            assert mistakes(value, media["schema"]) == [], (method, path, answer.status, text)
            return answer.status


@pytest.fixture
async def checked(sqlite_url, tmp_path) -> AsyncIterator[Checked]:
    secrets = {"api_secret": "right", "webhook_secret": "right", "body_limit": "64KiB"}
    (tmp_path / "sidecar.yml").write_text(f"store: {{url: {sqlite_url}}}\nserver: {json.dumps(secrets)}\n")
    settings: dict[str, Any] = {"server": secrets, "slack": {"signing_secret": "signing"}}
    async with running(sqlite_url, path=str(tmp_path / "sidecar.yml"), **settings) as sidecar:
        yield Checked(sidecar)


async def test_real_answers_are_what_it_says(checked, tmp_path):
    """Of every operation, well and wrong: documented, of its media type, and valid."""
    fired = webhook_body([alert("HighErrorRate", severity="warning"), alert("Other", severity="CRITICAL", ago=9)])
    for path in ("/webhook", "/api/v1/webhook"):
        assert await checked("POST", path, fired) == 200
        assert await checked("POST", path, b"nonsense") == 400
        assert await checked("POST", path, fired, secret="wrong") == 401
    for path in ("/classify", "/anomaly"):
        for body in (fired, json.loads(fired)["alerts"], {"labels": {"a": "b"}}, []):
            assert await checked("POST", path, body) == 200
        assert await checked("POST", path, b"nonsense") == 400
        assert await checked("POST", path, fired, secret="wrong") == 401
    await checked.sidecar.caught_up()
    episodes = [row["episode"] for row in await checked.sidecar.rows("SELECT episode FROM episodes")]
    for path in ("/feedback", "/api/v2/feedback"):
        vote = {"who": "ada", "kind": "useful", "episodes": episodes}
        assert await checked("POST", path, vote) == 200
        assert await checked("POST", path, {"who": "ada"}) == 400
        assert await checked("POST", path, vote, secret="wrong") == 401
        assert await checked("POST", path, vote | {"episodes": ["x-1"]}) == 404
    await regroup_well_and_wrong(checked)
    asked = {"name": "deploy", "owner": "ci", "matchers": ['namespace="shop"'], "lease": "10m"}
    assert await checked("POST", "/api/v2/windows", asked) == 200
    assert await checked("POST", "/api/v2/windows", asked | {"owner": "ada"}) == 409
    assert await checked("POST", "/api/v2/windows", asked | {"lease": "2h"}) == 400
    assert await checked("GET", "/api/v2/windows") == 200
    assert await checked("DELETE", "/api/v2/windows/deploy?owner=ada") == 409
    assert await checked("DELETE", "/api/v2/windows/deploy") == 200
    assert await checked("DELETE", "/api/v2/windows/deploy") == 404
    for method, path in (("POST", "/api/v2/windows"), ("GET", "/api/v2/windows"), ("DELETE", "/api/v2/windows/deploy")):
        assert await checked(method, path, asked if method == "POST" else None, secret="wrong") == 401
    challenge = json.dumps({"type": "url_verification", "challenge": "c4a11enge"}).encode()
    signed = FakeSlack(signing_secret="signing").sign(challenge, time.time())
    assert await checked("POST", "/slack/events", challenge, **signed) == 200
    assert await checked("POST", "/slack/events", challenge) == 401
    for path in ("/feedback", "/classify"):
        assert await checked("POST", path, b" " * 70_000) == 400
    for method in ("POST", "PUT"):
        assert await checked(method, "/-/reload") == 200
        assert await checked(method, "/-/reload", secret="wrong") == 401
    await check_links(checked)
    for path in ("/-/healthy", "/-/ready", "/metrics", "/openapi.yaml"):
        assert await checked("GET", path) == 200
    checked.sidecar.parts.ready = False
    assert await checked("DELETE", "/api/v2/windows/deploy") == 503
    for method, path in (
        *(("POST", "/webhook"), ("POST", "/classify"), ("POST", "/anomaly"), ("GET", "/-/ready")),
        *(("POST", "/api/v2/windows"), ("GET", "/api/v2/windows")),
    ):
        assert await checked(method, path, fired if method == "POST" else None) == 503
    checked.sidecar.parts.ready = True
    (tmp_path / "sidecar.yml").write_text("mode: nonsense\n")
    assert await checked("POST", "/-/reload") == 400
    assert {(method, path) for method, path, _ in checked.seen} == set(OPERATIONS)
    well = {(method, path) for method, path, status in checked.seen if status == 200}
    assert well == set(OPERATIONS)


def _at(path: str, incident: str) -> str:
    return path.replace("{incident}", incident)


async def regroup_well_and_wrong(checked: Checked) -> None:
    """Takes one of two alerts out, and merges it back."""
    body = webhook_body([alert("One", severity="warning"), alert("Two", severity="warning")], "regrouped")
    assert await checked("POST", "/webhook", body) == 200
    await checked.sidecar.caught_up()
    query = "SELECT episode, incident FROM episodes WHERE alertname = 'Two'"
    ((episode, incident),) = [tuple(row.values()) for row in await checked.sidecar.rows(query)]
    taken = {"who": "ada", "episodes": [episode]}
    for path, said in ((f"{INCIDENT}/take-out", taken), (f"{INCIDENT}/merge", {"who": "ada", "into": incident})):
        assert await checked("POST", path, said, filled=_at(path, "unknown")) == 404
        assert await checked("POST", path, said, secret="wrong", filled=_at(path, incident)) == 401
        assert await checked("POST", path, {"who": "ada"}, filled=_at(path, incident)) == 400
    assert await checked("POST", f"{INCIDENT}/take-out", taken, filled=_at(f"{INCIDENT}/take-out", incident)) == 200
    await checked.sidecar.caught_up()
    ((_, new),) = [tuple(row.values()) for row in await checked.sidecar.rows(query)]
    assert (
        await checked(
            "POST", f"{INCIDENT}/merge", {"who": "ada", "into": incident}, filled=_at(f"{INCIDENT}/merge", new)
        )
        == 200
    )


async def check_links(checked: Checked) -> None:
    """A link to answer by: good, forged, too old, of something unknown, and with a form that is none."""
    incident = (await checked.sidecar.rows("SELECT incident FROM episodes"))[0]["incident"]
    now, page = checked.sidecar.parts.clock(), "/v/{token}"

    def link(about: str, at: float = now) -> str:
        return "/v/" + sign(Answer(FeedbackKind.USEFUL, about, -1, "default", int(at + 60)), "right")

    for method in ("GET", "POST"):
        body = b"who=ada" if method == "POST" else None
        await checked.sidecar.caught_up()
        assert await checked(method, page, body, filled=link(incident)) == 200
        assert await checked(method, page, body, filled="/v/forged") == 404
        assert await checked(method, page, body, filled=link("i-unknown-1")) == 404
        assert await checked(method, page, body, filled=link(incident, now - 3600)) == 410
    assert await checked("POST", page, b"x" * 9000, filled=link(incident)) == 400


async def test_it_is_served_as_it_is(checked):
    """To anybody, as YAML."""
    status, text = await checked.sidecar.request("GET", "/openapi.yaml")
    assert (status, text) == (200, TEXT)
