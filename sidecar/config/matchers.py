"""Alertmanager's matchers: `severity="CRITICAL"`, `alertname =~ "KEDA.*"`, with an absent label matching as empty.

Alertmanager's regular expressions are Go's RE2, anchored at both ends. What RE2 refuses is refused here too, so that a
matcher means the same in both places. And RE2 runs what could make Python's engine go back and forth for years: a pattern
comes with a request too, and no pattern may hang the loop.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import re2
from msgspec import Struct
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from sidecar.config.problems import Wrong

_MATCHER = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BETWEEN = re.compile(r'((?:[^",]|"(?:[^"\\]|\\.)*")*)(?:,|$)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
_EXAMPLE = 'write a label, one of = != =~ !~, and a value: severity="CRITICAL"'

# What Python's re takes and RE2 does not, or what means something else there; outside of character classes.
_FOREIGN = (
    (re.compile(r"\(\?<?[=!]"), "look-ahead and look-behind", "use a second matcher with !~ or !="),
    (re.compile(r"\\[1-9]|\(\?P="), "back-references", "spell the repetition out"),
    (re.compile(r"\(\?\("), "conditions", "use alternatives: (a|b)"),
    (re.compile(r"\(\?>|[*+?}]\+"), "possessive and atomic groups", "drop the second +: RE2 never backtracks"),
    (re.compile(r"\(\?#"), "comments", "put the comment in YAML"),
    (re.compile(r"\\[ZzA]"), "\\A, \\z and \\Z here", "leave them out: the expression is anchored at both ends"),
)
_ESCAPED_SIGN = re.compile(r"\\[^A-Za-z0-9]")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_REPEAT = re.compile(r"\{[\d,]+\}")
_CHOICE = re.compile(r"[*+?{(|]")  # with two of them, Python's engine may try every combination
_MOST_REPEATS = 1000  # https://github.com/google/re2/wiki/Syntax


def compile_re2(pattern: str) -> re.Pattern[str]:
    """An expression that RE2 would take too; use it with fullmatch. Raises Wrong with a hint."""
    if "[:" in pattern:
        raise Wrong("classes like [[:alpha:]] are not read here", "write the range: [A-Za-z]")
    bare = _bare(pattern)
    if any(int(count) > _MOST_REPEATS for count in re.findall(r"\d+", " ".join(_REPEAT.findall(bare)))):
        raise Wrong(f"RE2 repeats at most {_MOST_REPEATS} times", "use * or +")
    strange = foreign(pattern)
    if strange is not None:
        raise Wrong(f"Alertmanager's regular expressions (RE2) have no {strange[0]}", strange[1])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = re.compile(pattern, re.ASCII)
        if _branches(pattern):
            _automaton(pattern)
        return compiled
    except re2.error as fault:
        raise Wrong(f"RE2 does not take it: {fault}", "make it shorter, or use two matchers") from None
    except (re.error, ValueError, FutureWarning, DeprecationWarning, OverflowError, RecursionError) as fault:
        raise Wrong(f"not a regular expression: {fault}", "escape special characters with a backslash") from None


def foreign(pattern: str) -> tuple[str, str] | None:
    """(what, what to write instead) of the first thing in it that Python takes and RE2 does not; None without one."""
    bare = _bare(pattern)
    return next(((what, hint) for found, what, hint in _FOREIGN if found.search(bare)), None)


def _bare(pattern: str) -> str:
    return _CLASS.sub("[x]", _ESCAPED_SIGN.sub("~", pattern))


@lru_cache(maxsize=4096)
def _branches(pattern: str) -> bool:
    """Whether Python's engine might take more than one way through a text."""
    return len(_CHOICE.findall(_bare(pattern))) > 1


@lru_cache(maxsize=4096)
def _automaton(pattern: str) -> Any:
    """RE2's, anchored at both ends. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    made = re2.Set.FullMatchSet(options)
    made.Add(pattern)
    made.Compile()
    return made


def _fits(regex: re.Pattern[str], value: str) -> bool:
    if _branches(regex.pattern):
        text = value if value.isascii() else value.encode(errors="replace").decode()
        return _automaton(regex.pattern).Match(text) is not None
    return regex.fullmatch(value) is not None


class Matcher(Struct, frozen=True):
    """One condition on one label."""

    name: str
    op: str  # = != =~ !~
    value: str
    regex: re.Pattern[str] | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Does it hold? An absent label is the empty string."""
        value = labels.get(self.name, "")
        if self.regex is not None:
            return _fits(self.regex, value) == (self.op == "=~")
        return (value == self.value) == (self.op == "=")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{escaped}"'


def _unquoted(value: str, text: str) -> str:
    """The value without quotes and escapes, which Alertmanager knows in bare values, too."""
    quoted = _QUOTED.fullmatch(value)
    if not quoted and '"' in _ESCAPED.sub("", value):
        raise Wrong(f"{text!r}: the quotes do not match", _EXAMPLE)
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[0]), quoted[1] if quoted else value)


def parse_matcher(text: Any) -> Matcher:
    """Read one matcher. Raises Wrong with a hint."""
    if isinstance(text, Matcher):
        return text
    found = _MATCHER.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise Wrong(f"{text!r} is not a matcher", _EXAMPLE)
    name, op, value = found[1], found[2], _unquoted(found[3], text)
    return Matcher(name, op, value, compile_re2(value) if op in ("=~", "!~") else None)


def split_matchers(value: Any) -> Any:
    """Alertmanager lets one string hold several matchers, `{a="b", c=~"d"}`: one item each."""
    if not isinstance(value, list):
        return value
    single: list[Any] = []
    for item in value:
        if not isinstance(item, str):
            single.append(item)
            continue
        body = item.strip()
        body = body[1:-1] if body.startswith("{") and body.endswith("}") else item
        parts = [part for part in _BETWEEN.findall(body) if part.strip()]
        single += parts if len(parts) > 1 and all(_MATCHER.fullmatch(part) for part in parts) else [body]
    return single


MatcherText = Annotated[
    Matcher,
    BeforeValidator(parse_matcher),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "description": 'an Alertmanager matcher, e.g. alertname =~ "KEDA.*"'}),
]

Matchers = Annotated[tuple[MatcherText, ...], BeforeValidator(split_matchers)]
"""A list of Alertmanager's matchers."""
