"""The patterns of `aggregation_rules`, on RE2: time linear in the text, so that no pattern can hang the loop.

An alert's texts are searched in this order: summary, description, alertname; the first rule of the file that is found in
one of them counts. One `re2.Set` over all patterns comes first: an alert that none of them matches costs a microsecond.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any, Final, NamedTuple, Protocol

import re2

from sidecar.config.durations import format_duration
from sidecar.config.matchers import foreign
from sidecar.config.problems import Wrong

LONGEST_TEXT: Final = 500  # characters of each text that are searched
LONGEST_VALUE: Final = 80  # characters of a label or a group in a title
COUNT: Final = "count"  # filled in when the message is made
WINDOW: Final = "window"
_CACHED: Final = 4096  # answers kept; then all are forgotten, so that texts cannot grow the memory
_MEMORY: Final = 64 << 20  # bytes that RE2 may use for its automaton
_TOKEN: Final = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|(?P<wild>\.[*+]\??)|.", re.DOTALL
)
_NO_WORDS: Final = re.compile(r"\\.|[^\w\s]")
_ALONE: Final = re.compile(r"\\[Az]|\(\?[a-zA-Z]*-")  # an anchor that holds at the ends of a text, never of a line


class Match(Protocol):
    """What `re2` gives for a text that was found."""

    def group(self, name: str) -> str | None: ...


class Aggregation(Protocol):
    """One rule of `aggregation_rules`."""

    @property
    def pattern(self) -> str: ...
    @property
    def threshold(self) -> int: ...
    @property
    def window(self) -> float: ...
    @property
    def aggregate_as(self) -> str: ...


class Found(NamedTuple):
    """The rule that an alert belongs to, and the title of its aggregate: alerts of one rule and title are one."""

    name: str
    rule: Aggregation
    title: str  # with `{count}` where the number goes; every other brace is doubled


def compile_pattern(pattern: str) -> Any:
    """A pattern to search with. Raises Wrong, with a hint, for what RE2 does not take."""
    try:
        return re2.compile(pattern, _options())
    except re2.error as fault:
        said = fault.args[0].decode(errors="replace") if isinstance(fault.args[0], bytes) else str(fault.args[0])
        what, hint = foreign(pattern) or ("", "escape special characters with a backslash")
        known = f" (RE2 has no {what})" if what else ""
        raise Wrong(f"not a regular expression of RE2: {said}{known}", hint) from None


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    return options


class _Ready:
    """A rule with its pattern compiled: every `.*` of it is remembered, for names that nothing else fills."""

    def __init__(self, name: str, rule: Aggregation) -> None:
        self.name, self.rule = name, rule
        marked, self._words = _with_wildcards(rule.pattern)
        self.search = compile_pattern(marked).search
        self._groups = frozenset(compile_pattern(rule.pattern).groupindex)
        self._parts = [(text, field) for text, field, _, _ in Formatter().parse(rule.aggregate_as)]
        self._names = [field for _, field in self._parts if field and field not in (COUNT, WINDOW)]

    def title(self, match: Match, labels: Mapping[str, str]) -> str:
        """`aggregate_as` for this alert."""
        values = {name: self._known(name, match, labels) for name in self._names}
        missing = [name for name, value in values.items() if not value]
        if missing:
            values.update({name: self._wild(name, match, alone=len(missing) == 1) for name in missing})
        values |= {WINDOW: format_duration(self.rule.window)}
        return "".join(_doubled(text) + self._filled(field, values) for text, field in self._parts)

    def _known(self, name: str, match: Match, labels: Mapping[str, str]) -> str:
        """What the pattern's group of that name found, else the label."""
        found = match.group(name) if name in self._groups else None
        return _tidy(found or labels.get(name, ""))

    def _wild(self, name: str, match: Match, *, alone: bool) -> str:
        """What the `.*` after this very word matched, else the pattern's only one, when no other name is open."""
        for n, word in enumerate(self._words):
            if word == name.lower() or (alone and len(self._words) == 1):
                return _tidy(match.group(_wildcard(n)) or "") or f"unknown {name}"
        return f"unknown {name}"

    @staticmethod
    def _filled(field: str | None, values: Mapping[str, str]) -> str:
        if field is None:
            return ""
        return "{count}" if field == COUNT else _doubled(values[field])


class Patterns:
    """The rules of a file, ready to be asked. Answers for equal texts are cached."""

    def __init__(self, rules: Mapping[str, Aggregation]) -> None:
        self._rules = [_Ready(name, rule) for name, rule in rules.items()]
        self._set = re2.Set.SearchSet(_options())
        for one in self._rules:
            self._set.Add(f"(?m){one.rule.pattern}")  # several texts are searched at once, one to a line
        self._set.Compile()
        alone = tuple(n for n, one in enumerate(self._rules) if _ALONE.search(one.rule.pattern))
        self._always: frozenset[int] = frozenset(alone)
        self._cache: dict[str, tuple[int, ...]] = {}

    def find(self, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Found | None:
        """The first rule whose pattern is found in the alert's texts; None for none."""
        said, name = annotations.get, labels.get("alertname", "")
        texts = (said("summary", "")[:LONGEST_TEXT], said("description", "")[:LONGEST_TEXT], name[:LONGEST_TEXT])
        joined = "\n".join(texts)
        maybe = self._cache.get(joined)
        if maybe is None:
            maybe = self._look(joined)
        return None if not maybe else self._exactly(maybe, texts, labels)

    def _look(self, joined: str) -> tuple[int, ...]:
        """Numbers of the rules that may be found: a match across two texts is none."""
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        found = self._set.Match(_sendable(joined)) or ()  # None for no match
        found = tuple(sorted({*found, *self._always}))
        self._cache[joined] = found
        return found

    def _exactly(self, maybe: Iterable[int], texts: Iterable[str], labels: Mapping[str, str]) -> Found | None:
        for n in maybe:
            for text in texts:
                match = self._rules[n].search(_sendable(text)) if text else None
                if match is not None:
                    return Found(self._rules[n].name, self._rules[n].rule, self._rules[n].title(match, labels))
        return None


def _with_wildcards(pattern: str) -> tuple[str, list[str]]:
    """The pattern with a group around every `.*` and `.+`, and the word before each, in small letters."""
    made: list[str] = []
    words: list[str] = []
    for token in _TOKEN.finditer(pattern):
        if token["wild"]:
            before = _NO_WORDS.sub(" ", pattern[: token.start()]).split()
            made.append(f"(?P<{_wildcard(len(words))}>{token[0]})")
            words.append(before[-1].lower() if before else "")
        else:
            made.append(token[0])
    return "".join(made), words


def _wildcard(n: int) -> str:
    return f"sidecar_wildcard_{n}"


def _tidy(value: str) -> str:
    return " ".join(value.split())[:LONGEST_VALUE]


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _sendable(text: str) -> str:
    """RE2 reads UTF-8, which has no lone surrogates."""
    return text if text.isascii() else text.encode(errors="replace").decode()
