"""Every registered channel keeps the same promises, whatever an alert's author wrote."""

from __future__ import annotations

import email
import json
import re
from email import policy
from typing import Any

import msgspec
import pytest

from sidecar.channels import BY_KEY, BY_NAME, CHANNELS, SILENCE, mrkdwn, msteams, pagerduty
from sidecar.channels import email as email_channel
from sidecar.channels.base import Channel, Mail, Print, Request, Response, Step
from sidecar.domain import Message, Rejected, Retry, Sent
from tests.messages import (
    CANARIES,
    make_bulletin,
    make_config,
    make_message,
    make_silence,
    odd_bulletin,
    odd_message,
)

KINDS = ("notify", "update", "raise", "reminder", "resolve")
REF = "C0123:1700000000.000100"
ODD = {
    "empty": "",
    "markup": "<script>alert(1)</script> & <!channel> <@U1> @here {{7*7}} [x](javascript:x) *_`~",
    "line breaks": "Subject\r\nBcc: all@example.org\r\n\r\nbody\nend",
    "right to left": "تنبيه: הזיכרון אוזל \u202etxt.exe",
    "emoji": "🔥👩‍👩‍👧‍👦\ufeff🇩🇪" * 50,
    "wide": "🔥" * 3000,
    "quotes": '"\\' * 3000,
    "control": "a\x00b\x1b[31mred\x07\x85\u2028",
    "lone surrogate": "bad \ud800 half",
    "2 MB": "& < > é漢🔥 x" * 170_000,
}
people = pytest.mark.parametrize("channel", BY_KEY.values(), ids=lambda channel: channel.name)
every = pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
http = pytest.mark.parametrize(
    "channel", [each for each in CHANNELS if each.name not in ("email", "log")], ids=lambda channel: channel.name
)


def check_limits(step: Step) -> None:
    """The vendor's limits, read from the finished step as the vendor would."""
    if isinstance(step, Mail):
        check_mail(step)
    elif isinstance(step, Print):
        assert step.text.endswith("\n")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", step.text)
    elif "slack.com" in step.url:
        check_slack(msgspec.json.decode(step.body))
    elif "pagerduty" in step.url:
        check_pagerduty(step)
    elif "workflow" in step.url or "sig=" in step.url:
        assert len(step.body) <= msteams.BODY_LIMIT
        json.loads(step.body)
    else:
        json.loads(step.body)


def check_mail(step: Mail) -> None:
    mail = email.message_from_bytes(step.content, policy=policy.default)
    assert mail["Bcc"] is None
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert max(map(len, step.content.split(b"\r\n"))) <= 998
    page = mail.get_body(("html",)).get_content()
    assert len(page.encode()) <= email_channel.CLIP + 1000
    assert "<script" not in page
    assert "javascript:" not in re.findall(r'href="([^"]*)"', page)


def check_slack(body: dict[str, Any]) -> None:
    blocks = body.get("blocks", [])
    assert len(blocks) <= mrkdwn.BLOCKS_LIMIT
    assert len(json.dumps(blocks, ensure_ascii=False, separators=(",", ":"))) <= mrkdwn.TOTAL_LIMIT
    assert len(body["text"]) <= mrkdwn.TEXT_LIMIT
    for block in blocks:
        limit = mrkdwn.HEADER_LIMIT if block["type"] == "header" else mrkdwn.SECTION_LIMIT
        texts = [block["text"]] if "text" in block else block.get("fields") or block["elements"]
        assert all(0 < len(text["text"]) <= limit for text in texts)
        assert len(texts) <= mrkdwn.FIELDS_LIMIT
        joined = " ".join(text["text"] for text in texts)
        assert not re.search(r"<[!@#]|@here|@channel|javascript:[^ ]*\|", joined)
        assert not re.search(r"&(?!amp;|lt;|gt;)", joined)


def check_pagerduty(step: Request) -> None:
    assert len(step.body) <= pagerduty.BODY_LIMIT
    event = msgspec.json.decode(step.body)
    assert 0 < len(event["dedup_key"]) <= pagerduty.DEDUP_KEY_LIMIT or event["dedup_key"] == ""
    if event["event_action"] == "trigger":
        assert 0 < len(event["payload"]["summary"]) <= pagerduty.SUMMARY_LIMIT
        assert event["payload"]["severity"] in ("critical", "error", "warning", "info")
        assert all(link["href"].startswith("https://") for link in event["links"])


@people
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("ref", ["", REF], ids=["new", "known"])
def test_odd_messages_stay_within_the_limits(channel: Channel[Any, Any], kind: str, text: str, ref: str) -> None:
    """Whatever text the labels hold, every kind of message is rendered within the vendor's limits and inert."""
    steps = channel.render(odd_message(kind, text), make_config(channel.name), ref)
    assert steps or (channel.name == "slack" and kind in ("update", "resolve"))
    for step in steps:
        check_limits(step)


@people
@pytest.mark.parametrize("kind", KINDS)
def test_huge_messages_stay_within_the_limits(channel: Channel[Any, Any], kind: str) -> None:
    """A message of 5,000 alerts is cut to the vendor's limits, and says how many it left out."""
    message = make_message(kind, lines=5000)
    steps = channel.render(message, make_config(channel.name), REF)
    for step in steps:
        check_limits(step)
    if channel.name not in ("webhook", "pagerduty"):
        texts = [getattr(step, "body", getattr(step, "content", getattr(step, "text", ""))) for step in steps]
        assert any(re.search(r"and\s\d+\smore\salerts", str(text)) for text in texts)


def told(channel: Channel[Any, Any], kind: str = "notify") -> Any:
    return make_silence() if channel is SILENCE else make_message(kind)


@people
def test_what_shadow_mode_would_have_done_is_shown(channel: Channel[Any, Any]) -> None:
    """The mark is in what is sent, in words."""
    mark = "shadow: would have been held for 11 min by suppression_by_score"
    steps = channel.render(make_message("notify", marks=(mark,)), make_config(channel.name), "")
    shown = " ".join(_plain(step) for step in steps)
    assert all(word in shown for word in ("shadow: would have been held for 11 min", "score"))


def _plain(step: Step) -> str:
    if isinstance(step, Mail):
        mail = email.message_from_bytes(step.content, policy=policy.default)
        return str(mail.get_body(("plain",)).get_content())
    return step.text if isinstance(step, Print) else str(msgspec.json.decode(step.body))


@every
def test_rendering_is_pure(channel: Channel[Any, Any]) -> None:
    """The same message, configuration and ref give the same steps, byte for byte."""
    config = make_config(channel.name)
    assert channel.render(told(channel), config, REF) == channel.render(told(channel), config, REF)
    assert channel.destination(config) == channel.destination(make_config(channel.name))


@every
def test_no_secret_is_shown(channel: Channel[Any, Any]) -> None:
    """Neither a configuration, nor a step, nor a destination prints a secret."""
    config = make_config(channel.name)
    shown = [repr(config), str(config), config.model_dump_json(), channel.destination(config)]
    shown += [repr(step) for step in channel.render(told(channel), config, REF)]
    secrets = [CANARIES[0], CANARIES[2]]
    assert not [text for text in shown for secret in secrets if secret in text]


@http
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Retry) for status in (0, 408, 429, 500, 502, 503, 504)),
        *((status, Rejected) for status in (301, 307, 400, 401, 404, 413)),
    ],
)
def test_answers_are_classified(channel: Channel[Any, Any], status: int, kind: type) -> None:
    """What may pass is tried again, what never will is rejected, and either says why."""
    outcome = channel.interpret(Response(status, {"retry-after": "7"}, b"because", 0.0))
    assert isinstance(outcome, kind)
    assert outcome.why
    assert getattr(outcome, "after", None) == (7.0 if kind is Retry and status else None)


TAKEN = {
    "slack": (200, b'{"ok":true,"channel":"C1","ts":"1.2"}', "C1:1.2"),
    "pagerduty": (202, b'{"status":"success","dedup_key":"k"}', "k"),
    "email": (250, b"queued", ""),
    "msteams": (202, b"", ""),
    "webhook": (204, b"", ""),
    "log": (200, b"", ""),
    "silence": (200, b'{"silenceID":"s-1"}', "s-1"),
}


@every
def test_what_was_taken_is_sent(channel: Channel[Any, Any]) -> None:
    """The vendor's own success is Sent, with the ref that finds the message again."""
    status, body, ref = TAKEN[channel.name]
    assert channel.interpret(Response(status, {}, body)) == Sent(ref)


@every
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{", b"\xff\xfe", b"<html>", b"1" * 100_000])
def test_any_body_can_be_interpreted(channel: Channel[Any, Any], body: bytes) -> None:
    """A body that is not what the vendor documents never raises."""
    for status in (0, 200, 202, 400, 422, 500):
        outcome = channel.interpret(Response(status, {}, body))
        assert isinstance(outcome, Sent | Retry | Rejected)
        assert len(getattr(outcome, "why", "")) < 500


BULLETINS = [channel for channel in BY_KEY.values() if "digest" in channel.kinds]
summing = pytest.mark.parametrize("channel", BULLETINS, ids=lambda channel: channel.name)


def test_every_channel_but_the_pager_sums_up() -> None:
    """A digest wakes nobody."""
    assert {channel.name for channel in BY_KEY.values()} - {channel.name for channel in BULLETINS} == {"pagerduty"}


@summing
@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_odd_bulletins_stay_within_the_limits(channel: Channel[Any, Any], text: str) -> None:
    """A digest of 500 lines of hostile labels is cut to the vendor's limits, stays inert, and keeps whole links."""
    (step,) = channel.render(odd_bulletin(text, 500), make_config(channel.name), "")
    check_limits(step)
    shown = words_of(step)
    assert "https://sidecar.example.org/v/n-0" in shown
    assert "Subject\nBcc" not in shown
    assert len(shown) < 4_000_000


@summing
def test_bulletins_say_what_they_leave_out(channel: Channel[Any, Any]) -> None:
    """Each line has its two links, and what is not shown is counted."""
    (step,) = channel.render(make_bulletin(500), make_config(channel.name), "")
    shown = words_of(step)
    assert "12 alerts were kept back" in shown
    assert shown.count("https://sidecar.example.org/v/n-0") >= 1
    if channel.name != "webhook":
        assert re.search(r"and \d+ more lines", shown)


@summing
def test_a_bulletin_is_said_anew_whatever_was_said_before(channel: Channel[Any, Any]) -> None:
    """It belongs to no earlier message: the ref of one changes nothing."""
    config = make_config(channel.name)
    assert channel.render(make_bulletin(2), config, REF) == channel.render(make_bulletin(2), config, "")
    assert next(channel.exchange(make_bulletin(2), config, "")) == channel.render(make_bulletin(2), config, "")[0]


def test_the_pager_takes_no_bulletin() -> None:
    """Its exchange ends without a step."""
    with pytest.raises(StopIteration) as end:
        next(BY_NAME["pagerduty"].exchange(make_bulletin(2), make_config("pagerduty"), ""))
    assert end.value.value == Sent("")


def words_of(step: Step) -> str:
    """All text of a step, decoded."""
    if isinstance(step, Mail):
        mail = email.message_from_bytes(step.content, policy=policy.default)
        return str(mail.get_body(("plain",)).get_content())
    return step.text if isinstance(step, Print) else step.body.decode()


@people
def test_resolves_are_not_sent_when_not_wanted(channel: Channel[Any, Any]) -> None:
    """With send_resolved: false the exchange of a resolve ends as Sent without one step, and keeps its ref."""
    config = make_config(channel.name).model_copy(update={"send_resolved": False})
    with pytest.raises(StopIteration) as end:
        next(channel.exchange(make_message("resolve"), config, REF))
    assert end.value.value == Sent(REF)


@people
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_a_channel_leaves_out_are_sent_without_a_step(channel: Channel[Any, Any], kind: str) -> None:
    """A kind outside `kinds` asks for nothing; one inside asks for its first rendered step."""
    message: Message = make_message(kind)
    talk = channel.exchange(message, make_config(channel.name), REF)
    if kind in channel.kinds:
        assert next(talk) == channel.render(message, make_config(channel.name), REF)[0]
    else:
        with pytest.raises(StopIteration) as end:
            next(talk)
        assert end.value.value == Sent(REF)


def test_names_and_keys_are_unique() -> None:
    """No two channels share a name or a configuration key."""
    assert len({channel.name for channel in CHANNELS}) == len(CHANNELS) == len(BY_NAME)
    assert len({channel.config_key for channel in CHANNELS}) == len(CHANNELS) == len(BY_KEY) + 1


@every
def test_unknown_keys_are_errors_and_known_ones_without_effect_are_named(channel: Channel[Any, Any]) -> None:
    """A misspelt key is refused; each key in NO_EFFECT is a declared field."""
    assert channel.Config.model_config["extra"] == "forbid"
    assert set(channel.Config.model_fields) >= channel.Config.NO_EFFECT
    assert channel.rate.per_second > 0
    assert channel.rate.burst >= 1
