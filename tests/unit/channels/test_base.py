"""What the channels share: classification, formats, words, secrets and durations."""

from __future__ import annotations

import pytest

from sidecar.channels import prose
from sidecar.channels.base import classify_http
from sidecar.channels.settings import HttpConfig, digest, parse_duration, redact, secret_of, secrets_in
from sidecar.channels.silence import SilenceConfig
from sidecar.channels.webhook import WebhookConfig
from sidecar.channels.wire import encode_json, format_time, origin, retry_after
from sidecar.domain import Rejected, Retry, Sent
from tests.messages import T0, make_message


def test_a_redirect_names_its_host_only() -> None:
    """A redirect is refused with a hint that shows no path."""
    outcome = classify_http(302, {"location": "https://new.example.org/secret?x=1"}, b"", T0)
    assert isinstance(outcome, Rejected)
    assert "https://new.example.org" in outcome.why
    assert "secret" not in outcome.why


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("30", 30.0),
        ("1.5", 1.5),
        ("Sun, 22 Nov 2026 03:01:00 GMT", 60.0),
        ("Sun, 22 Nov 2026 02:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("9" * 400, 86400.0),
    ],
)
def test_retry_after(raw: str, seconds: float | None) -> None:
    """Seconds or a date against the given now, never beyond a day; anything else says nothing."""
    assert retry_after({"retry-after": raw}, T0) == seconds
    assert classify_http(429, {"retry-after": raw}, b"", T0) == Retry("HTTP 429", seconds)


def test_success_is_sent() -> None:
    """Any 2xx is Sent."""
    assert classify_http(204, {}, b"", T0) == Sent()


@pytest.mark.parametrize(
    ("at", "text"),
    [(T0, "2026-11-22T03:00:00Z"), (T0 + 0.25, "2026-11-22T03:00:00.250Z"), (None, "0001-01-01T00:00:00Z")],
)
def test_format_time(at: float | None, text: str) -> None:
    """RFC 3339 in UTC, Go's zero time for never."""
    assert format_time(at) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("1m30s", 90.0), ("500ms", 0.5), ("2h", 7200.0), (7, 7), ("1d", 86400.0)]
)
def test_durations(text: object, seconds: float) -> None:
    """Alertmanager's notation, or a number."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "1x", "s", "-1s", "1s1m"])
def test_bad_durations(text: str) -> None:
    """What is no duration is refused with an example."""
    with pytest.raises(ValueError, match="write it as"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://a.example.org/x?y=1", True),
        ("http://10.0.0.1:9090/graph", True),
        ("javascript:alert(1)", False),
        ("https://a.example.org/ x", False),
        ("https://a|b", False),
        ("https://[broken", False),
        ("https://a/>x", False),
        ("https:///x", False),
        ("https://a/" + "x" * 3000, False),
        ("https://a/\u202e", False),
        ("//a/x", False),
    ],
)
def test_safe_url(url: str, safe: bool) -> None:
    """Only a plain http(s) URL with a host may become a link."""
    assert prose.safe_url(url) == (url if safe else "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-3, "0 s"), (59.6, "1 min"), (125, "2 min 5 s"), (3600, "1 h"), (90061, "1 d 1 h")],
)
def test_spans(seconds: float, text: str) -> None:
    """A duration in its two largest units."""
    assert prose.format_span(seconds) == text


def test_clean_takes_what_does_harm_and_leaves_languages() -> None:
    """Control and direction characters go, letters of any script stay."""
    assert prose.clean("a\x00\x1b[31m\u202eb", 50) == "a  [31m b"
    assert prose.clean("زمن الاستجابة 🔥", 50) == "زمن الاستجابة 🔥"
    assert prose.one_line("a\r\nBcc: b\t c", 50) == "a Bcc: b c"
    assert prose.clean("x" * 10, 4) == "xxx…"


def test_facts_fall_back_to_the_newest_alert() -> None:
    """What the alerts do not share is taken from the newest one."""
    assert dict(prose.facts(make_message(common_labels={})))["Namespace"] == "payments"
    assert prose.label(make_message(common_labels={}, lines=0), "namespace") == ""


def test_more_line_counts_what_is_not_shown() -> None:
    """Lines that do not fit and alerts beyond the lines are counted together."""
    message = make_message(lines=3, more=10)
    assert prose.more_line(message, 1) == "and 12 more alerts"
    assert prose.more_line(make_message(lines=2), 1) == "and 1 more alert"
    assert prose.more_line(make_message(), 1) == ""


def test_json_survives_a_lone_surrogate() -> None:
    """What UTF-8 cannot hold becomes a question mark, keys included."""
    assert encode_json({"a\ud800": ["\ud800", 1, ("x",)]}) == b'{"a?":["?",1,["x"]]}'


def test_redaction_finds_nested_secrets_and_the_paths_of_secret_urls() -> None:
    """Every secret of a configuration is starred, a secret URL's path and query by themselves too."""
    auth = {"basic_auth": {"username": "u", "password": "hunter22"}}
    config = WebhookConfig(url="https://e.org/hooks/abcdefgh?token=qwertyuiop", http_config=auth)
    text = "hunter22 at https://e.org/hooks/abcdefgh?token=qwertyuiop, /hooks/abcdefgh, token=qwertyuiop"
    assert redact(text, config) == "***** at *****, *****, *****"
    assert secret_of(config, "url").endswith("qwertyuiop")
    assert "hunter22" in secrets_in(config)
    assert digest("a") != digest("b")


def test_two_credentials_are_one_too_many() -> None:
    """basic_auth and authorization exclude each other."""
    with pytest.raises(ValueError, match="keep one"):
        HttpConfig(basic_auth={"username": "u"}, authorization={"credentials": "x"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [("https://u:p@h.org:8/x", "https://h.org:8"), ("https://h.org?x", "https://h.org"), ("/x", "elsewhere")],
)
def test_origin_shows_no_secret(url: str, shown: str) -> None:
    """Scheme and host only: no user, password, path or query."""
    assert origin(url) == shown


@pytest.mark.parametrize("url", ["http://u:p@am:9093", "am:9093", "http://", "http://am:99999", "http://a b"])
def test_a_shown_url_is_a_url_without_credentials(url: str) -> None:
    """A URL that is no secret may hold none, and must be a URL."""
    with pytest.raises(ValueError, match=r"http_config.basic_auth|not a URL|[Pp]ort"):
        SilenceConfig(url=url)
