"""Slack's signature and reactions, and feedback as JSON: odd input is refused, never an error of ours."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.config.sections import Slack
from sidecar.domain import FeedbackKind
from sidecar.errors import AuthError, PayloadError
from sidecar.intake import feedback
from sidecar.intake.slack_events import Challenge, Reaction, read, verify

NOW = 1_795_316_400.0
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
STAMP, SIGNATURE = "X-Slack-Request-Timestamp", "X-Slack-Signature"


def signed(body: bytes, at: float = NOW, secret: str = SECRET) -> dict[str, str]:
    stamp = str(int(at))
    digest = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {STAMP: stamp, SIGNATURE: f"v0={digest}"}


def event(kind: str = "reaction_added", **changes: object) -> bytes:
    item = {"type": "message", "channel": "C1", "ts": "1.2"}
    inner = {"type": kind, "user": "U1", "reaction": "-1", "item": item, **changes}
    return json.dumps({"type": "event_callback", "event_id": "Ev1", "event": inner}).encode()


def test_slacks_own_example_verifies():
    """The worked example of Slack's page on verifying requests."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015."
        b"47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    wanted = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    verify({STAMP: "1531420618", SIGNATURE: wanted}, body, "8f742231b10e8888abcd99yyyzzz85a5", 1_531_420_618.0)


@pytest.mark.parametrize("age", [-300, -1, 0, 299.5, 300])
def test_a_signature_holds_for_five_minutes(age):
    """Before and after, since clocks differ."""
    verify(signed(b"x", NOW - age), b"x", SECRET, NOW)


@pytest.mark.parametrize("age", [-302, 301, 86_400, -86_400])
def test_a_stale_request_is_refused(age):
    """However well it is signed."""
    with pytest.raises(AuthError, match="clock"):
        verify(signed(b"x", NOW - age), b"x", SECRET, NOW)


@pytest.mark.parametrize(
    "stamp", ["", " ", "abc", "1.5", "-1", "+5", "1e9", "٣", "²", "nan", "inf", "9" * 13, "9" * 5000, "1 2", "0x10"]
)
def test_an_odd_timestamp_is_refused(stamp):
    """Not a number of seconds."""
    with pytest.raises(AuthError):
        verify({**signed(b"x"), STAMP: stamp}, b"x", SECRET, NOW)


@pytest.mark.parametrize("signature", ["", "v0=", "v0=ü", "v1=00", "v0=\udcff\udcfe", "x" * 100_000, "\u0661", " "])
def test_an_odd_signature_is_refused(signature):
    """Non-ASCII and bytes that are no text among them."""
    with pytest.raises(AuthError, match="signing_secret"):
        verify({**signed(b"x"), SIGNATURE: signature}, b"x", SECRET, NOW)


def test_a_body_or_secret_that_differs_is_refused():
    """One byte is enough; a body that is no UTF-8 is signed as it is."""
    verify(signed(b"\xff\xfe\x00"), b"\xff\xfe\x00", SECRET, NOW)
    with pytest.raises(AuthError):
        verify(signed(b"x"), b"y", SECRET, NOW)
    with pytest.raises(AuthError):
        verify(signed(b"x", secret="other"), b"x", SECRET, NOW)
    with pytest.raises(AuthError):
        verify({}, b"x", SECRET, NOW)


def test_reactions_are_read():
    """Who, what, on which message, and whether it was taken off."""
    assert read(event()) == Reaction("Ev1", "U1", "-1", "C1:1.2", removed=False)
    assert read(event("reaction_removed")) == Reaction("Ev1", "U1", "-1", "C1:1.2", removed=True)


def test_the_challenge_is_read():
    """Slack asks before it sends events."""
    assert read(b'{"type": "url_verification", "challenge": "abc"}') == Challenge("abc")


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b'{"type": "event_callback"}', b'{"event": null}', b'{"event": {"type": ["reaction_added"]}}',
        b'{"event": {"type": {}}}', event("message"), event(item=None), event(item=[]), event(user=""),
        event(item={"type": "file", "file": "F1"}), b'{"type": {"a": 1}, "event": 5}',
    ],
)  # fmt: skip
def test_other_events_are_none_of_ours(body):
    """They are acknowledged and forgotten."""
    assert read(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"1", b"\xff", b"[" * 100_000, b"payload=%7B%7D", event(user=5), event(user="a\x00b"),
        event(reaction=["-1"]), event(item={"type": "message", "channel": {}, "ts": "1"}), event(user="u" * 1001),
        b'{"type": "url_verification", "challenge": [1]}',
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(body):
    """With a reason, as a PayloadError."""
    with pytest.raises(PayloadError, match="not a Slack event"):
        read(body)


def test_skin_tones_and_synonyms_mean_the_same():
    """:+1:, :thumbsup: and either with a skin tone are one; what is not configured says nothing."""
    kind_of = Slack().kind_of
    for name in ("+1", "thumbsup", "+1::skin-tone-3", "thumbsup::skin-tone-6", ":+1:"):
        assert kind_of(name) is FeedbackKind.USEFUL
    assert kind_of("-1::skin-tone-2") is FeedbackKind.FALSE_POSITIVE
    assert kind_of("tada") is None
    assert kind_of("") is None


GIVEN = {"who": "ada", "kind": "false_positive", "episodes": ["f-1"]}


def test_feedback_is_read():
    """One person, one kind, some episodes or an incident."""
    said = feedback.read(json.dumps({**GIVEN, "comment": "known flake"}).encode())
    assert (said.who, said.kind, said.episodes, said.comment) == (
        "ada",
        FeedbackKind.FALSE_POSITIVE,
        ("f-1",),
        "known flake",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"who": ""}, {"who": " "}, {"who": "x" * 201}, {"who": 1}, {"who": "a\x00"}, {"kind": "spam"}, {"kind": None},
        {"episodes": []}, {"episodes": "f-1"}, {"episodes": [1]}, {"episodes": ["x"] * 1001}, {"incident": "i-1"},
        {"comment": "x" * 2001}, {"comment": "\x00"}, {"unknown": 1}, {"retracted": "yes"}, {"episodes": ["\x00"]},
    ],
)  # fmt: skip
def test_feedback_that_cannot_be_counted_is_refused(changes):
    """The error says what to send."""
    with pytest.raises(PayloadError) as refused:
        feedback.read(json.dumps({**GIVEN, **changes}).encode())
    assert len(str(refused.value)) > 20


# ------------------------------------------------------------------------------------------------------------------ fuzz

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["type", "event", "event_id", "challenge", "user", "reaction", "item", "channel", "ts"])
OBJECT = st.dictionaries(
    KEYS, ANY_JSON | st.sampled_from(["reaction_added", "message", "url_verification"]), max_size=5
)
NESTED = st.tuples(OBJECT, OBJECT, OBJECT).map(
    lambda three: {**three[0], "event": {"type": "reaction_added", **three[1], "item": {"type": "message", **three[2]}}}
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | (OBJECT | NESTED).map(lambda value: json.dumps(value).encode()))
@example(b'{"type": "url_verification", "challenge": ' + b"[" * 900 + b"]" * 900 + b"}")
@example(b'{"event": {"type": ["reaction_added"]}}')
def test_whatever_slack_sends_is_read_or_refused(body):
    """Only PayloadError comes out."""
    try:
        found = read(body)
    except PayloadError:
        return
    assert found is None or isinstance(found, Challenge | Reaction)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([STAMP, SIGNATURE]), st.text(max_size=40)), st.binary(max_size=50))
def test_whatever_the_headers_say_only_auth_error_comes_out(headers, body):
    """Nothing that was not signed passes."""
    with pytest.raises(AuthError):
        verify(headers, body, SECRET, NOW)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | st.dictionaries(st.sampled_from([*GIVEN, "incident", "comment", "retracted"]), ANY_JSON).map(
        lambda value: json.dumps({**GIVEN, **value}).encode()
    )
)
def test_whatever_feedback_comes_is_read_or_refused(body):
    """Only PayloadError comes out."""
    try:
        said = feedback.read(body)
    except PayloadError:
        return
    assert said.who.strip()
    assert bool(said.episodes) != bool(said.incident)
