"""E-mail: its headers, its parts, and what an SMTP reply means."""

from __future__ import annotations

import email
from email import policy
from email.message import EmailMessage
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from sidecar.channels.base import Mail, Response
from sidecar.channels.email import Email, EmailConfig
from sidecar.domain import Message, Rejected, Retry, Sent
from tests.messages import make_line, make_message

EMAIL = Email()
GIVEN = {"to": "a@example.org, B <b@example.org>", "from": "Alerts <alerts@example.org>"}
CONFIG = EmailConfig(**GIVEN, smarthost="smtp.example.org:587")


def render(message: Message, config: EmailConfig = CONFIG) -> tuple[Mail, EmailMessage]:
    [step] = EMAIL.render(message, config, "")
    assert isinstance(step, Mail)
    parsed = email.message_from_bytes(step.content, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return step, parsed


def test_the_envelope() -> None:
    """Bare addresses go to the server, names stay in the headers."""
    step, mail = render(make_message())
    assert step.sender == "alerts@example.org"
    assert step.recipients == ("a@example.org", "b@example.org")
    assert (step.host, step.port, step.require_tls, step.implicit_tls) == ("smtp.example.org", 587, True, False)
    assert mail["To"] == "a@example.org, B <b@example.org>"


def test_headers_tell_machines_what_this_is() -> None:
    """Subject as specified; automatic replies are not wanted; a list id to filter by; Date is the sender's to add."""
    _, mail = render(make_message())
    assert mail["Subject"] == "[FIRING] HighLatency - artemis/payments"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "All"
    assert mail["List-Id"] == "<alertmanager-sidecar.example.org>"
    assert mail["Date"] is None


def test_one_thread_per_incident() -> None:
    """All mails of an incident refer to one root; another incident's do not."""
    roots = {render(make_message(kind))[1]["References"] for kind in ("notify", "raise", "resolve")}
    assert len(roots) == 1
    assert render(make_message(dedup_key="other"))[1]["References"] not in roots


def test_the_message_id_is_stable_across_tries_only() -> None:
    """The same news has the same Message-ID whatever else changed since; other news has another."""
    first = render(make_message())[1]["Message-ID"]
    assert render(make_message(score=0.9))[1]["Message-ID"] == first
    others = [
        make_message("resolve"),
        make_message("reminder"),
        make_message("reminder", note="still firing after 8 h"),
    ]
    assert len({first, *(render(each)[1]["Message-ID"] for each in others)}) == 4


def test_both_parts_say_what_the_specification_lists() -> None:
    """Text first, HTML last; both have the alert's facts, the score, the reasons and the links."""
    _, mail = render(make_message())
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    for part in mail.iter_parts():
        text = part.get_content()
        for words in ("artemis", "CRITICAL", "prod-eu", "p95 is 2.4 s", "2026-11-22 03:00:00 UTC", "2.4", "13% likely"):
            assert words in text
        for words in ("13 voted noise", "goes to artemis-oncall", "https://docs.example.org/runbooks/HighLatency"):
            assert words in text


def test_html_is_escaped_and_headers_hold_one_line() -> None:
    """A label can make neither a tag nor a header."""
    title = "x</h2><script>alert(1)</script>\r\nBcc: all@example.org"
    line = make_line(labels={"alertname": title, "a<b": "<img src=x>"})
    _, mail = render(replace(make_message(title=title, common_labels={}), lines=(line,)))
    page = mail.get_body(("html",)).get_content()
    assert "<script>" not in page
    assert "<img" not in page
    assert mail["Bcc"] is None
    assert "&lt;script&gt;" in page


def test_configured_headers_are_set_unless_ours() -> None:
    """A literal header is set; a template or one that the sidecar makes itself is left out and named."""
    headers = {"X-Team": "artemis", "Subject": "mine", "X-Name": "{{ .Labels.x }}"}
    config = EmailConfig(**GIVEN, smarthost="h:25", headers=headers)
    _, mail = render(make_message(), config)
    assert (mail["X-Team"], mail["X-Name"]) == ("artemis", None)
    assert mail["Subject"].startswith("[FIRING]")
    assert len(config.warnings()) == 2


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (250, Sent("")),
        (421, Retry("SMTP 421: busy")),
        (452, Retry("SMTP 452: busy")),
        (550, Rejected("SMTP 550: busy")),
        (0, Retry("busy")),
    ],
)
def test_replies(status: int, outcome: object) -> None:
    """4xx and no answer are tried again, 5xx is for good."""
    assert EMAIL.interpret(Response(status, {}, b"busy")) == outcome


def test_a_recipient_refused_for_good_is_named() -> None:
    """What was sent to the others is Sent, and its ref names who was refused."""
    assert EMAIL.interpret(Response(250, {"refused": "a@x"})) == Sent("refused for good: a@x")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"smarthost": "smtp.example.org"}, "host:port"),
        ({"to": "not an address"}, "name@host"),
        ({"to": "a@x\r\nBcc: b@y"}, "line break"),
        ({"headers": {"X": "a\nb"}}, "line break"),
        ({"auth_username": "u", "auth_password": "p", "require_tls": False}, "readably"),
        ({"auth_password": "p", "auth_password_file": "/x"}, "both given"),
    ],
)
def test_configuration_errors_say_what_to_write(changes: dict[str, Any], words: str) -> None:
    """A wrong block is refused with words that help."""
    with pytest.raises(ValidationError, match=words):
        EmailConfig(**{**GIVEN, "smarthost": "smtp.example.org:587", **changes})


def test_port_465_is_tls_from_the_start() -> None:
    """The submissions port has implicit TLS."""
    step, _ = render(make_message(), EmailConfig(**GIVEN, smarthost="smtp.example.org:465"))
    assert step.implicit_tls
