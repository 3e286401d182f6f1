"""What many alerts alike become: aggregates (3.3), flapping, storms; and how much of them may be suppressed."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from sidecar.config.durations import Duration
from sidecar.config.fields import Section
from sidecar.config.patterns import compile_pattern
from sidecar.config.problems import Wrong
from sidecar.config.sections import Template

MOST_STARTS = 20  # newest starts that the state keeps of an alert
MOST_RULES = 100  # each costs time on every alert that is new
MOST_STEPS = 2100  # of one pattern: x{1,1000} has as many; each may cost time on each character of an alert
LONGEST_WINDOW = 86_400.0  # s: what is counted is kept in memory as long


def _searchable(pattern: str) -> str:
    compiled = compile_pattern(pattern)
    if compiled.programsize > MOST_STEPS:
        size = f"{compiled.programsize} steps of RE2; at most {MOST_STEPS} are searched quickly"
        raise Wrong(f"is too large: {size}", "shorten its repeats: * or + costs next to nothing")
    if compiled.search("") is not None and not pattern.strip("^$").startswith("."):
        raise Wrong("is found in every text, even an empty one", 'write what to look for; ".+" for every alert')
    return pattern


def _span(seconds: float) -> float:
    if not 0 < seconds <= LONGEST_WINDOW:
        raise Wrong("has to be above 0 and at most 1d", 'write e.g. "5m"')
    return seconds


Span = Annotated[Duration, AfterValidator(_span)]


class AggregationRule(Section):
    """Many alerts alike told as one (3.3)."""

    pattern: Annotated[str, AfterValidator(_searchable)]
    """RE2, searched anywhere in the alert's summary, then its description, then its alertname; the first 500 characters of
    each. The first rule of the file that is found counts."""
    threshold: int = Field(ge=1, le=1000)
    """From so many alerts within `window` on, they are one incident. Before it they go out as usual."""
    window: Span
    """Within which they have to start; so long nothing of it may fire, five minutes at least, until it is over."""
    aggregate_as: Template
    """Its title. Alerts for which it reads the same, `{count}` left out, are one. A name in braces is a named group of the
    pattern, else a label, else what the `.*` after that word matched, else the pattern's only `.*`, else `unknown`."""


class Flapping(Section):
    """An alert that fires and resolves again and again is one incident, and resolves when it has been quiet."""

    enabled: bool = True
    times: int = Field(default=3, ge=2, le=MOST_STARTS)
    """So many starts of one alert within `window` are flapping."""
    window: Span = 1800.0
    """Within which its starts are counted."""
    quiet: Span = 900.0
    """How long it has to be quiet until people are told that it is over."""


class Storm(Section):
    """Far more incidents of one domain than usual become one for each severity. Nothing is dropped."""

    enabled: bool = True
    window: Span = 300.0
    """Within which incidents are counted."""
    min_incidents: int = Field(default=50, ge=2, le=1000)
    """Fewer incidents of a domain within `window` are never a storm."""
    factor: float = Field(default=10.0, ge=1)
    """A storm is so many times what the domain opens in such a time usually, too."""
    quiet: Span = 600.0
    """How long nothing of it may fire until people are told that it is over."""


class SuppressionBudget(Section):
    """The largest share of alerts that may be suppressed. Past it, people are told, with the numbers."""

    enabled: bool = True
    share: float = Field(default=0.8, ge=0, le=1)
    """Of all alerts of `window`, and of those of each alertname. A hold is none of it: what still fires is told."""
    window: Span = 21_600.0
    """How far back alerts count, to half an hour."""
    min_alerts: int = Field(default=20, ge=1)
    """With fewer alerts within `window` there is no share to speak of."""
