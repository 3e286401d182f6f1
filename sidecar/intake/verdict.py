"""The page behind a link to answer by: its text, and what its form says. Pure: bytes in, text out.

It loads nothing and runs no script. Opening it changes nothing; its one button votes, and the next page's takes it back.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs, quote, unquote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from msgspec import Struct

from sidecar.channels.prose import clean, one_line
from sidecar.domain import FeedbackKind
from sidecar.errors import PayloadError
from sidecar.intake.feedback import LONGEST_NAME

COOKIE: Final = "sidecar_voter"  # the name that somebody gave, and nothing else
LONGEST_FORM: Final = 8 * 1024  # bytes
WORDS: Final = {FeedbackKind.FALSE_POSITIVE: "noise", FeedbackKind.USEFUL: "real"}


class Form(Struct, frozen=True):
    """What the button sent."""

    who: str = ""  # empty: somebody
    undo: bool = False


class Subject(Struct, frozen=True):
    """What is answered."""

    title: str
    facts: tuple[str, ...] = ()


def read_form(body: bytes) -> Form:
    """Raises PayloadError for what no form of ours sends."""
    if len(body) > LONGEST_FORM:
        raise PayloadError(f"the form is longer than {LONGEST_FORM} bytes")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=5)
    except ValueError:
        raise PayloadError("not a form") from None
    return Form(plain_name(fields.get("who", [""])[0]), fields.get("undo", [""])[0] == "1")


def plain_name(text: str) -> str:
    """A name on one line, without what does harm, at most as long as a voter's may be."""
    return one_line(clean(text, LONGEST_NAME), LONGEST_NAME)


def remembered(cookie: str) -> str:
    """The name that the cookie holds."""
    return plain_name(unquote(cookie[: 4 * LONGEST_NAME], errors="replace"))


def to_remember(who: str) -> str:
    return quote(who, safe="")


def ask(subject: Subject, kind: FeedbackKind, who: str, *, taken_back: bool = False) -> str:
    """The page that asks for the one press."""
    return _page("ask", f"Is this {WORDS[kind]}?", subject, kind, who, taken_back=taken_back)


def thank(subject: Subject, kind: FeedbackKind, who: str, shown_as: str, count: int) -> str:
    """The page after it, with the way back."""
    return _page("thank", "Thank you", subject, kind, who, shown_as=shown_as, count=count)


def refuse(title: str, why: str) -> str:
    """The page of a link that cannot be answered by."""
    return _page("refuse", title, Subject(why), FeedbackKind.USEFUL, "")


def _page(
    step: str, title: str, subject: Subject, kind: FeedbackKind, who: str, *, shown_as: str = "", count: int = 0,
    taken_back: bool = False,
) -> str:  # fmt: skip
    return _template().render(
        step=step, title=title, subject=subject, word=WORDS[kind], who=who, shown_as=shown_as, count=count,
        taken_back=taken_back, style=Markup(STYLE),  # noqa: S704 - a constant
        longest=LONGEST_NAME,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("sidecar.intake", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("verdict.html")


STYLE: Final = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1c2430; --soft: #5c6a7d; --line: #dfe4ea; --go: #1f5fb8 }
@media (prefers-color-scheme: dark) {
  :root { --page: #11151b; --card: #1a2029; --text: #e5eaf1; --soft: #9aa8ba; --line: #2d3643; --go: #2f6fd0 }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 17px/1.5 system-ui, sans-serif }
main { max-width: 34rem; margin: 0 auto; padding: 1.5rem 1rem }
h1 { font-size: 1.4rem; margin: 0 0 1rem }
h2 { font-size: 1.05rem; margin: 0 0 .5rem; overflow-wrap: anywhere }
ul { margin: 0; padding-left: 1.2rem; color: var(--soft); overflow-wrap: anywhere }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem; margin: 0 0 1rem }
label { display: block; margin: 0 0 .25rem }
input { width: 100%; font: inherit; padding: .6rem; border: 1px solid var(--soft); border-radius: 8px; margin: 0 0 1rem;
  background: var(--card); color: inherit }
button { width: 100%; font: inherit; font-weight: 600; padding: .8rem; border: 0; border-radius: 8px; background: var(--go); color: #fff }
button.quiet { background: transparent; color: inherit; border: 1px solid var(--soft); font-weight: 400 }
:focus-visible { outline: 3px solid var(--go); outline-offset: 2px }
"""
POLICY: Final = (
    "default-src 'none'; style-src 'sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)  # fmt: skip
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}
