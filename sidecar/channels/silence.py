"""Silences, through Alertmanager's API v2. A channel like the others, so a silence is durable and retried.

The same POST twice makes two silences, so an equal one of ours is looked for first, and reused or extended.
What is ended early is expired there.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from typing import Any

import msgspec
from pydantic import Field, SecretStr, field_validator, model_validator

from sidecar.channels.base import (
    Channel,
    Exchange,
    Rate,
    Request,
    Response,
    Step,
    classify_http,
    http_request,
    post_json,
)
from sidecar.channels.settings import ChannelConfig, Url, reveal
from sidecar.channels.wire import format_time, quote
from sidecar.domain import Outcome, Rejected, Retry, Sent, SilenceRequest

NO_LIST = "Alertmanager answered 200 with a body that is not its list of silences"
SAME = 1.0  # seconds; Alertmanager keeps milliseconds, and a second more or less is the same end


class SilenceConfig(ChannelConfig):
    """Where Alertmanager's API is: `url` is one or several peers of a cluster, tried in order."""

    url: tuple[Url, ...] = Field(min_length=1)
    bearer_token: SecretStr = SecretStr("")
    bearer_token_file: str = ""

    @field_validator("url", mode="before")
    @classmethod
    def _allow_one(cls, url: Any) -> Any:
        return (url,) if isinstance(url, str) else url

    @model_validator(mode="after")
    def _check_auth(self) -> SilenceConfig:
        if reveal(self.bearer_token) and self.http_config.headers():
            raise ValueError("bearer_token and http_config's authorization are both given: keep one of them")
        return self

    def headers(self) -> dict[str, str]:
        token = reveal(self.bearer_token)
        return {"Authorization": f"Bearer {token}"} if token else {}


class Silence(Channel[SilenceRequest, SilenceConfig]):
    name = "silence"
    config_key = "silence_configs"
    Config = SilenceConfig
    kinds = frozenset({"silence"})
    rate = Rate(2.0, 5.0)

    def destination(self, config: SilenceConfig) -> str:
        return config.url[0]

    def render(self, message: SilenceRequest, config: SilenceConfig, ref: str) -> list[Step]:  # noqa: ARG002 always a look
        """The look before the leap; the POST that follows depends on its answer."""
        return [_get(config.url[0], config)]

    def interpret(self, response: Response) -> Outcome:
        """The answer to a POST: 200 with the id; 400 (a JSON string) and 422 ({code, message}) are for good."""
        outcome = classify_http(response.status, response.headers, response.body, response.at)
        if isinstance(outcome, Rejected) and response.status in (400, 422):
            return Rejected(f"Alertmanager refuses the silence: {_refusal(response)}")
        if not isinstance(outcome, Sent):
            return outcome
        answer = _decoded(response)
        identity = answer.get("silenceID") if isinstance(answer, dict) else None
        return Sent(str(identity)) if identity else Retry("Alertmanager answered 200 without a silenceID")

    def exchange(self, message: SilenceRequest, config: SilenceConfig, ref: str) -> Exchange:  # noqa: ARG002 what is there counts
        """Each Alertmanager in turn until one answers: peers of a cluster tell each other of silences."""
        outcome: Outcome = Retry("no Alertmanager is configured")
        for url in config.url:
            outcome = yield from (self._end if message.end else self._ask)(message, config, url)
            if not isinstance(outcome, Retry):
                break
        return outcome

    def _ask(self, message: SilenceRequest, config: SilenceConfig, url: str) -> Generator[Step, Response, Outcome]:
        listed = yield _get(url, config)
        outcome = classify_http(listed.status, listed.headers, listed.body, listed.at)
        if not isinstance(outcome, Sent):
            return outcome
        silences = _decoded(listed)
        if not isinstance(silences, list):
            return Retry(NO_LIST)
        ours = find_equal(silences, message)
        if ours and parse_time(ours.get("endsAt")) >= message.ends_at - SAME:
            return Sent(str(ours["id"]))
        answer = yield _post(url, config, body_of(message, listed.at, ours))
        if ours and answer.status == 404:  # it expired between the two
            answer = yield _post(url, config, body_of(message, listed.at, None))
        return self.interpret(answer)

    def _end(self, message: SilenceRequest, config: SilenceConfig, url: str) -> Generator[Step, Response, Outcome]:
        """Expire it. One that is not there, or over, is done: 0.25 answers 500 for that, later ones 404."""
        name = message.silence_id
        if not name:
            listed = yield _get(url, config)
            outcome = classify_http(listed.status, listed.headers, listed.body, listed.at)
            silences = _decoded(listed)
            if not isinstance(outcome, Sent) or not isinstance(silences, list):
                return outcome if not isinstance(outcome, Sent) else Retry(NO_LIST)
            name = str((find_equal(silences, message) or {}).get("id", ""))
        if not name:
            return Sent()
        answer = yield http_request(
            "DELETE", f"{url.rstrip('/')}/api/v2/silence/{name}", config, headers=config.headers()
        )
        if answer.status == 404 or (answer.status == 500 and b"not found" in answer.body):
            return Sent(name)
        outcome = classify_http(answer.status, answer.headers, answer.body, answer.at)
        return Sent(name) if isinstance(outcome, Sent) else outcome


def _get(url: str, config: SilenceConfig) -> Request:
    return http_request("GET", _silences(url), config, headers=config.headers())


def _post(url: str, config: SilenceConfig, body: dict[str, Any]) -> Request:
    return post_json(_silences(url), body, config, config.headers())


def _silences(url: str) -> str:
    return f"{url.rstrip('/')}/api/v2/silences"


def _decoded(response: Response) -> Any:
    try:
        return msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _refusal(response: Response) -> str:
    answer = _decoded(response)
    text = answer.get("message") if isinstance(answer, dict) else answer
    return quote(str(text).encode()) if text else quote(response.body)


# ------------------------------------------------------------------------------------------------------------ the silence


def matchers_of(message: SilenceRequest) -> list[dict[str, Any]]:
    """Exact matchers by name: Alertmanager extends a silence in place only if they come in the same order."""
    return [
        {"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in sorted(message.matchers)
    ]


def body_of(message: SilenceRequest, now: float, ours: dict[str, Any] | None) -> dict[str, Any]:
    """What is posted: a new silence from `now`, or `ours` with a later end, its matchers and start left as they are."""
    body = {
        "matchers": ours["matchers"] if ours else matchers_of(message),
        "startsAt": ours["startsAt"] if ours else format_time(now),
        "endsAt": format_time(message.ends_at),
        "createdBy": message.created_by,
        "comment": message.comment or message.reason,
    }
    return {**body, "id": ours["id"]} if ours else body


def find_equal(silences: list[Any], message: SilenceRequest) -> dict[str, Any] | None:
    """Of our own silences in effect, the one with these matchers, in any order, that lasts longest."""
    wanted = _as_set(matchers_of(message))
    equal = [each for each in silences if _is_ours(each, message) and _as_set(each.get("matchers")) == wanted]
    return max(equal, key=lambda each: parse_time(each.get("endsAt")), default=None)


def _is_ours(silence: Any, message: SilenceRequest) -> bool:
    # The list has expired ones too: only Alertmanager 0.34 and later can leave them out.
    if not isinstance(silence, dict) or not silence.get("id") or not silence.get("startsAt"):
        return False
    state = silence.get("status")
    active = isinstance(state, dict) and state.get("state") in ("active", "pending")
    return active and silence.get("createdBy") == message.created_by


def _as_set(matchers: Any) -> frozenset[tuple[str, str, bool, bool]]:
    rows = matchers if isinstance(matchers, list) else []
    return frozenset(
        (str(row.get("name")), str(row.get("value")), bool(row.get("isRegex")), bool(row.get("isEqual", True)))
        for row in rows
        if isinstance(row, dict)
    )


def parse_time(text: Any) -> float:
    """Seconds since the epoch of an RFC 3339 time; 0 for anything else."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
