"""Slack: what is called when, and what the answers mean."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from sidecar.channels.base import Request, Response
from sidecar.channels.slack import Slack, SlackConfig, blocks_of, escape
from sidecar.domain import Outcome, Rejected, Retry, Sent
from tests.messages import make_line, make_message

SLACK = Slack()
CONFIG = SlackConfig(bot_token="xoxb-1", channel="#alerts")
HOOK = SlackConfig(api_url="https://hooks.slack.com/services/T0/B0/secret")
REF = "C1:100.1"


def calls(kind: str, ref: str, config: SlackConfig = CONFIG) -> list[tuple[str, dict[str, Any]]]:
    steps = SLACK.render(make_message(kind), config, ref)
    assert all(isinstance(step, Request) for step in steps)
    return [(step.url.rpartition("/")[2], msgspec.json.decode(step.body)) for step in steps]


def answer(body: dict[str, Any], status: int = 200) -> Response:
    return Response(status, {}, json.dumps(body).encode())


def run(kind: str, ref: str, answers: list[Response], config: SlackConfig = CONFIG) -> tuple[list[Request], Outcome]:
    """The exchange with these answers: the steps it asked for, and its outcome."""
    talk = SLACK.exchange(make_message(kind), config, ref)
    steps = []
    try:
        steps.append(next(talk))
        for each in answers:
            steps.append(talk.send(each))  # noqa: PERF401 StopIteration carries the outcome
    except StopIteration as end:
        return steps, end.value
    raise AssertionError("the exchange asks for more than was answered")


OK = answer({"ok": True, "channel": "C1", "ts": "100.1"})
REPLY = answer({"ok": True, "channel": "C1", "ts": "200.2"})


@pytest.mark.parametrize("kind", ["notify", "raise", "reminder"])
def test_posts_a_message_nobody_has_yet(kind: str) -> None:
    """Without a ref, what must interrupt is posted to the configured channel."""
    [(method, body)] = calls(kind, "")
    assert method == "chat.postMessage"
    assert body["channel"] == "#alerts"


@pytest.mark.parametrize("kind", ["update", "resolve"])
def test_updates_without_a_message_do_nothing(kind: str) -> None:
    """Without a ref there is nothing to update or resolve."""
    assert run(kind, "", []) == ([], Sent(""))


def test_an_update_edits_in_place() -> None:
    """An update is one chat.update of the message, and no reply."""
    [(method, body)] = calls("update", REF)
    assert (method, body["channel"], body["ts"]) == ("chat.update", "C1", "100.1")


@pytest.mark.parametrize(("kind", "loud"), [("raise", True), ("reminder", True), ("resolve", False)])
def test_what_changed_is_also_said_in_the_thread(kind: str, loud: bool) -> None:
    """A raise and a reminder broadcast their reply to the channel; a resolve replies in the thread only."""
    (first, _), (second, reply) = calls(kind, REF)
    assert (first, second) == ("chat.update", "chat.postMessage")
    assert (reply["thread_ts"], reply["reply_broadcast"]) == ("100.1", loud)


def test_the_ref_stays_the_messages_own() -> None:
    """The ref of a raise is the message's, not its reply's."""
    assert run("raise", REF, [OK, REPLY])[1] == Sent("C1:100.1")


def test_a_failed_update_stops_before_the_reply() -> None:
    """A reply is only sent after its update, so that the retry of both repeats no reply."""
    steps, outcome = run("raise", REF, [answer({"ok": False, "error": "internal_error"})])
    assert (len(steps), outcome) == (1, Retry("Slack: internal_error"))


def test_a_deleted_message_is_posted_anew() -> None:
    """message_not_found on an update posts a fresh message, whose ref is the new one."""
    fresh = answer({"ok": True, "channel": "C1", "ts": "300.3"})
    steps, outcome = run("raise", REF, [answer({"ok": False, "error": "message_not_found"}), fresh])
    assert steps[1].url.endswith("chat.postMessage")
    assert b"thread_ts" not in steps[1].body
    assert outcome == Sent("C1:300.3")


def test_a_deleted_message_is_not_resolved_anew() -> None:
    """A resolve of a message that somebody deleted is done."""
    steps, outcome = run("resolve", REF, [answer({"ok": False, "error": "message_not_found"})])
    assert (len(steps), outcome) == (1, Sent(""))


@pytest.mark.parametrize("error", ["msg_blocks_too_long", "invalid_blocks"])
def test_refused_blocks_are_sent_as_text(error: str) -> None:
    """When Slack refuses the blocks, the same message goes without them."""
    steps, outcome = run("notify", "", [answer({"ok": False, "error": error}), OK])
    assert "blocks" in msgspec.json.decode(steps[0].body)
    assert "blocks" not in msgspec.json.decode(steps[1].body)
    assert outcome == Sent("C1:100.1")


@pytest.mark.parametrize(
    ("error", "kind"),
    [("ratelimited", Retry), ("fatal_error", Retry), ("not_in_channel", Rejected), ("a_new_error", Rejected)],
)
def test_errors_in_an_ok_answer(error: str, kind: type) -> None:
    """Slack's errors come with status 200; what passes by itself is retried."""
    outcome = SLACK.interpret(answer({"ok": False, "error": error}))
    assert isinstance(outcome, kind)
    assert error in outcome.why


def test_an_incoming_webhook_posts_and_never_updates() -> None:
    """Without a token messages are posted to the webhook, updates are nothing, and there is no ref."""
    assert calls("update", "", HOOK) == []
    [step] = SLACK.render(make_message("resolve"), HOOK, "")
    assert step.url == "https://hooks.slack.com/services/T0/B0/secret"
    assert "Authorization" not in step.headers
    assert run("notify", "", [Response(200, {}, b"ok")], HOOK)[1] == Sent("")
    assert "reactions" in HOOK.warnings()[0]


def test_a_webhook_url_beside_a_token_is_not_used() -> None:
    """A token wins over an incoming webhook's URL that was left in the block, and check-config says so."""
    config = SlackConfig(api_url="https://hooks.slack.com/services/T0/B0/secret", bot_token="xoxb-1", channel="#a")
    assert SLACK.render(make_message(), config, "")[0].url == "https://slack.com/api/chat.postMessage"
    assert "not used" in config.warnings()[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"channel": "#a"}, "bot_token"),
        ({"bot_token": "xoxb-1"}, "channel is missing"),
        ({"bot_token": "xoxb-1", "bot_token_file": "/x", "channel": "#a"}, "both given"),
        ({"bot_token_file": "/no/such/file", "channel": "#a"}, "bot_token_file: cannot read /no/such/file"),
        ({"bot_token": "a\nb", "channel": "#a"}, "line break"),
        ({"bot_token": "x", "channel": "{{ .Labels.x }}"}, "templates"),
        ({"bot_token": "x", "channel": "#a", "colour": "red"}, "Extra inputs"),
        ({"bot_token": "x", "channel": "#a", "api_url": "ftp://x"}, "not a URL"),
    ],
)
def test_configuration_errors_say_what_to_write(given: dict[str, Any], words: str) -> None:
    """A wrong block is refused with words that help, and without its secrets."""
    with pytest.raises(ValidationError, match=words) as error:
        SlackConfig(**given)
    assert "xoxb-1" not in str(error.value)


def test_alertmanagers_own_keys_move_over() -> None:
    """Alertmanager's keys are taken; those without effect are named; its app_token is the bot token."""
    config = SlackConfig(app_token="xoxb-2", channel="#a", title="T", color="good", send_resolved=False, timeout="5s")
    assert config.bot_token.get_secret_value() == "xoxb-2"
    assert config.timeout == 5.0
    assert [warning.split()[0] for warning in config.warnings()] == ["color", "title"]


def test_a_token_file_is_read(tmp_path) -> None:
    """A secret file's content is the secret, without its line break."""
    file = tmp_path / "token"
    file.write_text("xoxb-3\n")
    assert SlackConfig(bot_token_file=str(file), channel="#a").bot_token.get_secret_value() == "xoxb-3"


@pytest.mark.parametrize(
    ("text", "limit", "escaped"),
    [
        ("a & <b>", 50, "a &amp; &lt;b&gt;"),
        ("<!channel> @here", 50, "&lt;!channel&gt; @\u200bhere"),
        ("&&&&", 12, "&amp;&amp;…"),
        ("abcdef", 4, "abc…"),
    ],
)
def test_escape(text: str, limit: int, escaped: str) -> None:
    """Markup becomes text, and a cut never leaves half an entity."""
    assert escape(text, limit) == escaped
    assert len(escaped) <= limit


def test_the_message_says_all_that_the_specification_lists() -> None:
    """Domain, severity, namespace, service, the alert's own facts, links, score, reasons and why one is told."""
    shown = json.dumps(blocks_of(make_message()), ensure_ascii=False)
    for text in (
        *("*Domain:* artemis", "*Severity:* CRITICAL", "*Namespace:* payments", "*Service:* checkout"),
        *("*Alert:* HighLatency", "*Description:* p95 is 2.4 s", "*Started:* 2026-11-22 03:00:00 UTC", "*Value:* 2.4"),
        *("pod: checkout-7d9", "|View in Prometheus>", "|Runbook>", "|Dashboard>", "13% likely a false alarm"),
        *("13 voted noise", "CRITICAL in artemis goes to artemis-oncall", "shadow: would have been held"),
        "React 👍 useful or 👎 noise",
    ):
        assert text in shown


def test_a_resolved_message_says_when_and_how_long() -> None:
    """A resolved message has its tick, its end and its duration, and invites no reaction."""
    shown = json.dumps(blocks_of(make_message("resolve")), ensure_ascii=False)
    assert "✅ [RESOLVED]" in shown
    assert "*Resolved at:* 2026-11-22 03:05:00 UTC" in shown
    assert "*Duration:* 5 min" in shown
    assert "React" not in shown


def test_a_dangerous_source_is_not_linked() -> None:
    """A generator URL that is no plain http(s) one is left out."""
    message = make_message()
    message = msgspec.structs.replace(message, lines=(make_line(generator_url="javascript:alert(1)"),))
    assert "javascript" not in json.dumps(blocks_of(message))
