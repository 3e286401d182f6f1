"""Tokens of links to answer by: what is ours reads back, and nothing else does."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.domain import FeedbackKind
from sidecar.errors import AuthError, TooOld
from sidecar.links import LONGEST, Answer, links_to, read, sign

NOW = 1_795_600_000.0
ANSWER = Answer(FeedbackKind.FALSE_POSITIVE, "digest-team-1795600000", 3, "team", int(NOW) + 60)


@given(st.text(max_size=60), st.integers(-1, 99), st.text(max_size=20), st.text(min_size=1, max_size=40))
def test_what_was_signed_reads_back(about, line, receiver, key):
    """Whatever the names are."""
    said = Answer(FeedbackKind.USEFUL, _plain(about), line, _plain(receiver), int(NOW))
    assert read(sign(said, _plain(key) or "k"), _plain(key) or "k", NOW - 1) == said


def _plain(text: str) -> str:
    return text.encode("utf-8", "ignore").decode()


def test_a_token_names_no_alert_and_fits_a_url():
    """Only letters that a path takes as they are; short enough for every line of a message."""
    token = sign(ANSWER, "key")
    assert token.replace("-", "").replace("_", "").isalnum()
    assert len(token) < 140


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_any_change_of_a_token_is_refused(place, letter):
    """Each letter counts, the last one's spare bits too."""
    token = sign(ANSWER, "key")
    place %= len(token)
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        with pytest.raises(AuthError):
            read(changed, "key", NOW)


@pytest.mark.parametrize(
    "token", ["", "a", "A" * 44, "=", "ü" * 20, "\x00", "A" * (LONGEST + 1), "A" * 100_000, sign(ANSWER, "other")]
)
def test_what_is_not_ours_is_refused(token):
    """Whatever it is, and however long."""
    with pytest.raises(AuthError):
        read(token, "key", NOW)


def test_half_a_token_and_a_token_with_more_are_refused():
    """Mail clients cut long lines."""
    token = sign(ANSWER, "key")
    for odd in (token[:-1], token[: len(token) // 2], token + "A", token + "==", token + token):
        with pytest.raises(AuthError):
            read(odd, "key", NOW)


def test_the_signature_covers_the_words_and_not_only_the_name():
    """Another answer under the same signature is none."""
    raw = urlsafe_b64decode(sign(ANSWER, "key") + "==")
    forged = raw.replace(b"false_positive", b"useful")
    with pytest.raises(AuthError):
        read(urlsafe_b64encode(forged).rstrip(b"=").decode(), "key", NOW)


def test_without_a_key_nothing_is_signed_or_read():
    """An empty key would be everybody's."""
    assert links_to("https://sidecar", "", "digest-a-1", 0, "a", NOW) == ()
    assert links_to("", "key", "digest-a-1", 0, "a", NOW) == ()
    with pytest.raises(AuthError):
        read(sign(ANSWER, ""), "", NOW)


def test_a_link_grows_old():
    """To the second."""
    token = sign(replace(ANSWER, until=int(NOW)), "key")
    assert read(token, "key", NOW)
    with pytest.raises(TooOld):
        read(token, "key", NOW + 1)


def test_both_links_of_a_line_are_the_same_when_made_again():
    """A message that is sent again is the same message."""
    first = links_to("https://sidecar/", "key", "digest-a-1", 0, "a", NOW)
    assert first == links_to("https://sidecar", "key", "digest-a-1", 0, "a", NOW)
    assert [text for text, _ in first] == ["👎 noise", "👍 real"]
    assert all(url.startswith("https://sidecar/v/") for _, url in first)
