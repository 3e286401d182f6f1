"""What Prometheus is asked around an alert's start: the section, and queries with labels filled in so that none changes
the query.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from sidecar.config.durations import Duration
from sidecar.config.fields import HttpUrl, Secret, Section
from sidecar.config.problems import Wrong
from sidecar.config.specified import check_headers

LONGEST_VALUE: Final = 1024  # characters of a label in a query: a label can have 2 MB, an address has not
MOST_QUERIES: Final = 10  # each is a line of the message
LONGEST_NAME: Final = 40
LONGEST_WAIT: Final = 30.0  # s: messages wait for it
LONGEST_SPAN: Final = 7 * 86400.0

# A matcher's operator, if there is one, and the string after it; comments hold neither.
_STRING = re.compile(r"""\#[^\n]*|(?:(!=|=~|!~|=)\s*)?("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)""", re.DOTALL)
_PLACE = re.compile(r"\\.|\{([a-zA-Z_][a-zA-Z0-9_]*)\}", re.DOTALL)  # what a backslash covers is no place
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")
_HINT = 'write it inside the string of a matcher: instance="{instance}"'


def check_query(text: str) -> str:
    """The query. Raises Wrong where a label would stand outside a matcher's string: there its value could say anything."""
    if not text.strip():
        raise Wrong("is empty", 'write PromQL, e.g. avg(node_load1{instance="{instance}"})')
    end = 0
    for found in _STRING.finditer(text):
        _check_outside(text[end : found.start()])
        operator, string, end = found[1], found[2] or "", found.end()
        name = next(_places(string), "")
        if name and operator is None:
            raise Wrong(f"{{{name}}} stands in a string that is no matcher's", _HINT)
        if name and string[0] == "`":
            raise Wrong(f"{{{name}}} stands in backticks, where nothing can be escaped", _HINT)
    _check_outside(text[end:])
    return text


def _check_outside(text: str) -> None:
    if re.search(r"[\"'`]", text):
        raise Wrong("a quote is not closed", "check the quotes")
    if name := next(_places(text), ""):
        raise Wrong(f"{{{name}}} stands outside quotes", _HINT)


def _places(text: str) -> Iterator[str]:
    return (found[1] for found in _PLACE.finditer(text) if found[1])


def fill_in(query: str, labels: Mapping[str, str]) -> str | None:
    """The query for these labels; None when one that it names is absent, or longer than LONGEST_VALUE.

    A value is text and stays text: in `=` and `!=` it is escaped for the string, in `=~` and `!~` for the regular
    expression first.
    """
    missing = False

    def fill_string(found: re.Match[str]) -> str:
        operator, string = found[1], found[2]
        if string is None:
            return found[0]

        def fill_place(place: re.Match[str]) -> str:
            nonlocal missing
            if place[1] is None:
                return place[0]
            value = labels.get(place[1], "")
            missing = missing or not 0 < len(value) <= LONGEST_VALUE
            return _escape(_META.sub(r"\\\g<0>", value) if operator in ("=~", "!~") else value)

        start = found.start(2) - found.start()
        return found[0][:start] + _PLACE.sub(fill_place, string)

    filled = _STRING.sub(fill_string, query)
    return None if missing else filled


def _escape(value: str) -> str:
    """For a PromQL string in either quotes; what is not printable ASCII punctuation or text goes by its number."""
    plain = value.encode("utf-8", "replace").decode().replace("\\", "\\\\")
    return re.sub(r"[\"'`\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", plain)


def _span(seconds: float) -> float:
    if not 1.0 <= seconds <= LONGEST_SPAN:
        raise Wrong("is not between 1s and 7d", 'write e.g. "30m"')
    return seconds


def _wait(seconds: float) -> float:
    if not 0.0 < seconds <= LONGEST_WAIT:
        raise Wrong(f"is not between 1ms and {LONGEST_WAIT:g}s", "messages wait for it: write e.g. 2s")
    return seconds


class PrometheusContext(Section):
    """Which server, and what to ask it when people are told of an alert. Without `url` nothing is asked."""

    url: HttpUrl | None = None
    """Its base URL, without /api; a path prefix belongs to it."""
    headers: dict[str, Secret] = Field(default={})
    """Sent with each query, e.g. `Authorization: Bearer ${TOKEN}`."""
    timeout: Annotated[Duration, AfterValidator(_wait)] = 2.0
    """How long a message waits for all of its queries together; it leaves without what has not come by then."""
    queries: dict[str, Annotated[str, AfterValidator(check_query)]] = Field(default={})
    """The message's lines: a name, and PromQL that gives one series. {label} inside a matcher's string stands for the
    alert's label; an alert without that label skips the query."""
    before: Annotated[Duration, AfterValidator(_span)] = 1800.0
    """What is usual is the median over this long before the alert's start."""
    after: Duration = 0.0
    """How long after the start is asked for too, as far as it is over when people are told; at most `before`."""

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        return check_headers(headers)

    @field_validator("queries")
    @classmethod
    def _named(cls, queries: dict[str, str]) -> dict[str, str]:
        if len(queries) > MOST_QUERIES:
            raise Wrong(f"are {len(queries)}, and a message has room for {MOST_QUERIES}", "keep what helps people most")
        for name in queries:
            if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
                raise Wrong(f"{name[:LONGEST_NAME]!r} is no name", f"write 1 to {LONGEST_NAME} printable characters")
        return queries

    @field_validator("after")
    @classmethod
    def _short(cls, after: float, known: ValidationInfo) -> float:
        if after > known.data.get("before", LONGEST_SPAN):
            raise Wrong("is longer than before", "make before as long at least")
        return after


class Context(Section):
    """What was measured around an alert's start, for its message, for `sidecar why` and for whoever trains models."""

    prometheus: PrometheusContext = PrometheusContext()
