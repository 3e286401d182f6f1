"""The page behind a link to answer by, and what its form says."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain import FeedbackKind
from sidecar.errors import PayloadError
from sidecar.intake.feedback import LONGEST_NAME
from sidecar.intake.verdict import (
    LONGEST_FORM,
    POLICY,
    Form,
    Subject,
    ask,
    read_form,
    refuse,
    remembered,
    thank,
    to_remember,
)

EVIL = """<script>document.title='owned'</script>"'><img src=x onerror="1">{{7*7}}</h2>\u202e"""
NOISE = FeedbackKind.FALSE_POSITIVE


@given(st.text())
def test_a_name_is_remembered_as_it_was_given(name):
    """On one line, and no longer than a voter's may be."""
    form = (
        read_form(b"who=" + to_remember(name.encode("utf-8", "ignore").decode()).encode())
        if len(name) < 500
        else Form()
    )
    assert len(form.who) <= LONGEST_NAME
    assert "\n" not in form.who
    assert "\x00" not in form.who
    assert remembered(to_remember(form.who)) == form.who
    assert to_remember(form.who).isascii()
    assert not re.search(r'[;,\s"]', to_remember(form.who))


@given(st.binary(max_size=LONGEST_FORM))
def test_any_form_is_read_or_refused(body):
    """Nothing else is raised."""
    try:
        form = read_form(body)
    except PayloadError:
        return
    assert len(form.who) <= LONGEST_NAME


@given(st.text(max_size=2000))
def test_any_cookie_is_a_name(cookie):
    """A browser may have anything there."""
    assert len(remembered(cookie)) <= LONGEST_NAME


@pytest.mark.parametrize("body", [b"x" * (LONGEST_FORM + 1), b"&".join(b"f%d=1" % n for n in range(6))])
def test_a_form_too_long_or_with_too_many_fields_is_refused(body):
    """Ours has two."""
    with pytest.raises(PayloadError):
        read_form(body)


def test_what_the_alerts_author_wrote_stays_text():
    """On each of the pages, and the name too."""
    subject = Subject(EVIL, (EVIL, EVIL))
    for page in (ask(subject, NOISE, EVIL), thank(subject, NOISE, EVIL, EVIL, 3), refuse("No", EVIL)):
        tags = set(re.findall(r"<([a-z][a-z0-9]*)", page))
        assert tags <= {
            "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "section", "ul", "li", "form", "label", "input",
            "button", "p",
        }  # fmt: skip
        assert "&lt;script&gt;" in page
        assert "49" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_the_pages_one_style_is_the_one_its_policy_allows():
    """By its hash."""
    (style,) = re.findall(r"<style>(.*?)</style>", ask(Subject("x"), NOISE, ""), re.DOTALL)
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in POLICY
    assert "unsafe" not in POLICY


def test_the_page_says_what_is_asked_and_has_one_button():
    """Its word is the link's; the field has a label, the result a role that is read aloud."""
    page = ask(Subject("Flaky on checkout", ("12 times",)), FeedbackKind.USEFUL, "ada")
    assert "Yes, this was real" in page
    assert page.count("<button") == page.count("<form") == 1
    assert 'value="ada"' in page
    assert 'for="who"' in page
    done = thank(Subject("Flaky"), NOISE, "ada", "ada", 1)
    assert re.search(r'role="status">\s*1 alert counted as noise, by ada\.', done)
    assert 'name="undo" value="1"' in done
