"""Who is told: severity, domain and time to receivers. Answers are cached, since every alert asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import inf
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from sidecar.calendar import Schedule
from sidecar.config.intervals import NamedInterval
from sidecar.config.matchers import Matcher
from sidecar.config.specified import Domain
from sidecar.config.timing import TimeBasedRouting, Timed
from sidecar.domain import severity_rank
from sidecar.timetable import Part, Timetable, turns

K = TypeVar("K")
V = TypeVar("V")
SEARCHED_DAYS = 8  # how far the next window that names somebody is looked for: a weekly one comes within them
_HOUR = 3600.0
_CACHED = 8192  # answers kept per question; then all are forgotten, so that labels cannot grow the memory


class Route(NamedTuple):
    """Where an alert belongs, and why."""

    receivers: tuple[str, ...]
    rule: str  # "time_based_routing.off_hours", "time_based_routing.maintenance_windows", "default"
    sentence: str  # for people
    roles: tuple[str, ...] = ()  # what the rule named
    unmapped: tuple[str, ...] = ()  # roles that no receiver has: the default receiver stands in


class Step(NamedTuple):
    """Who is told next of what nobody acknowledges."""

    named: tuple[tuple[str, str], ...]  # (role, its receiver)
    why: str  # for people: "whom off_hours names for CRITICAL"


class _Timed(NamedTuple):
    """A window, ready to be asked."""

    name: str
    hours: Timetable
    routes: Mapping[str, tuple[str, ...]]
    suppress: tuple[str, ...] = ()

    def active(self, now: float) -> bool:
        return self.hours.active(now)


class Router:
    """Answers `domain_of`, `route` and `maintenance` for one configuration."""

    def __init__(
        self,
        domains: Mapping[str, Domain],
        timing: TimeBasedRouting | None,
        receivers: Iterable[str],
        default: str,
        intervals: Iterable[NamedInterval] = (),
    ) -> None:
        self._domains = [(name, domain.matchers, domain.any_of) for name, domain in domains.items()]
        self._roles = {name: domain.roles for name, domain in domains.items()}
        self._names = _labels_of(domains.values())
        self._receivers = frozenset(receivers)
        self._default = default
        self._windows, self._maintenance = _timed(timing, {one.name: one for one in intervals})
        self._timing = timing is not None
        self._domain_cache: dict[tuple[str | None, ...], str] = {}
        self._route_cache: dict[tuple[str | int | None, ...], Route] = {}
        self._rest_cache: dict[tuple[str, int], tuple[str, float] | None] = {}
        self._told_cache: dict[tuple[str, str], _Search] = {}
        self._hours_cache: dict[tuple[str, float], _Search] = {}

    def domain_of(self, labels: Mapping[str, str]) -> str:
        """The first domain whose matchers hold, else the `domain` label, else empty."""
        key = tuple(map(labels.get, self._names))
        found = self._domain_cache.get(key)
        if found is None:
            found = next((name for name, every, some in self._domains if _holds(labels, every, some)), None)
            found = labels.get("domain", "") if found is None else found
            _bounded(self._domain_cache)[key] = found
        return found

    def route(self, severity: str, labels: Mapping[str, str], now: float) -> Route:
        """Who is told of an alert of this severity (in capitals) and these labels at `now`."""
        key = (severity, int(now // 60), *map(labels.get, self._names))  # schedules have no seconds
        found = self._route_cache.get(key)
        if found is None:
            found = self._route(severity, self.domain_of(labels), now)
            _bounded(self._route_cache)[key] = found
        return found

    def maintenance(self, severity: str, now: float) -> tuple[str, float] | None:
        """(name, end) of the maintenance window that suppresses this severity at `now`; of several, the last to end."""
        if not self._maintenance:
            return None
        key = (severity, int(now // 60))
        if key not in self._rest_cache:
            resting = [
                (window.name, window.hours.ends(now))
                for window in self._maintenance
                if severity in window.suppress and window.active(now)
            ]
            _bounded(self._rest_cache)[key] = max(resting, key=lambda one: one[1], default=None)
        return self._rest_cache[key]

    def told_from(self, severity: str, labels: Mapping[str, str], now: float) -> float | None:
        """The first moment from `now` on at which the route names somebody; None when not within eight days."""
        key = (severity, self.domain_of(labels))
        known = self._told_cache.get(key)
        if known is None or not known.since <= now < known.until:
            known = _bounded(self._told_cache)[key] = self._search(*key, now)
        return known.found

    def _search(self, severity: str, domain: str, now: float) -> _Search:
        if self._route(severity, domain, now).receivers:
            return _Search(now, now, now)
        tables = [window.hours for window in (*self._windows, *self._maintenance)]
        for at in turns(tables, now, SEARCHED_DAYS):
            if self._route(severity, domain, at).receivers:
                return _Search(now, at, at)
        return _Search(now, now + _HOUR, None)

    def open_for(self, window: str, now: float, seconds: float) -> float:
        """When the named window has been open for so long since `now`; without such a window it always is."""
        found = next((one for one in self._windows if one.name == window), None)
        if found is None:
            return now + seconds
        known = self._hours_cache.get((window, seconds))
        if known is None or not known.since <= now < known.until:
            known = _bounded(self._hours_cache)[window, seconds] = _open_for(found.hours, now, seconds)
        return now + seconds if known.found is None else known.found

    def steps(self, severity: str, domain: str, now: float, roles: tuple[str, ...] | None) -> list[Step]:
        """Who is told after one another of what nobody acknowledges; `roles` as configured, None: what the windows imply.

        Nobody while a maintenance window overrides the route: it says who is told.
        """
        if any(severity in window.routes and window.active(now) for window in self._maintenance):
            return []
        if roles is not None:
            return [self._step((role,), domain, f"as escalate_to of {severity} says") for role in roles]
        open_now = next((window for window in self._windows if window.active(now)), None)
        found = []
        higher = _next_higher(severity, open_now.routes if open_now else {})
        if open_now is not None and higher:
            named = tuple(dict.fromkeys(role for one in higher for role in open_now.routes[one]))
            found.append(self._step(named, domain, f"whom {open_now.name} names for {_listed(higher)}"))
        others = [window for window in self._windows if window is not open_now and window.routes.get(severity)]
        named_there = (f"whom {window.name} names for {severity}" for window in others)
        return found + [
            self._step(one.routes[severity], domain, why) for one, why in zip(others, named_there, strict=True)
        ]

    def _step(self, roles: tuple[str, ...], domain: str, why: str) -> Step:
        mapped = self._roles.get(domain, {})
        names = ((role, mapped.get(role, role)) for role in roles)
        return Step(tuple((role, name if name in self._receivers else self._default) for role, name in names), why)

    def endless(self) -> list[int]:
        """Which maintenance windows never close, by their place in the file."""
        years = (datetime(year, 1, 2, tzinfo=UTC).timestamp() for year in range(1970, 2100))
        moments = [0.0, *years]
        return [
            place
            for place, window in enumerate(self._maintenance)
            if any(window.hours.ends(at) == inf for at in moments if window.active(at))
        ]

    def _route(self, severity: str, domain: str, now: float) -> Route:
        for window in self._maintenance:
            if severity in window.routes and window.active(now):
                return self._told(severity, domain, window, "maintenance_windows", "during")
        open_now = next((window for window in self._windows if window.active(now)), None)
        if open_now is None:
            why = "no window of time_based_routing is open" if self._timing else "there is no time_based_routing"
            return Route((self._default,), "default", f"{why}: it goes to the default receiver {self._default}")
        if severity not in open_now.routes:
            why = f"{open_now.name} has no route for {severity}"
            return Route((self._default,), "default", f"{why}: it goes to the default receiver {self._default}")
        return self._told(severity, domain, open_now, open_now.name, "in")

    def _told(self, severity: str, domain: str, window: _Timed, rule: str, when: str) -> Route:
        roles, mapped = window.routes[severity], self._roles.get(domain, {})
        named = {role: mapped.get(role, role) for role in roles}
        unmapped = tuple(role for role, name in named.items() if name not in self._receivers)
        told = tuple(dict.fromkeys(self._default if role in unmapped else name for role, name in named.items()))
        sentence = f"{severity} goes to {_listed(told)} {when} {window.name}"
        if not roles:
            sentence = f"{severity} is not delivered {when} {window.name}"
        elif unmapped:
            sentence += f" (no receiver for {_listed(unmapped)}: {self._default} stands in)"
        return Route(told, f"time_based_routing.{rule}", sentence, roles, unmapped)


class _Search(NamedTuple):
    """From when until when an answer of `told_from` or `open_for` holds."""

    since: float
    until: float
    found: float | None


def _open_for(hours: Timetable, now: float, seconds: float) -> _Search:
    """`found` is None while so many seconds are left of the stretch that is open."""
    if not hours.active(now):
        until = hours.open_for(now, seconds)
        return _Search(
            now, hours.opens(now), None if until == inf else until
        )  # one that never opens keeps nothing waiting
    enough = hours.ends(now) - seconds
    if now < enough:
        return _Search(now, enough, None)
    until = hours.open_for(now, seconds)
    return _Search(now, now, None if until == inf else until)


def _next_higher(severity: str, routes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The severities of a window that come next above this one, and have somebody."""
    above = [name for name, roles in routes.items() if roles and severity_rank(name) > severity_rank(severity)]
    lowest = min(map(severity_rank, above), default=0)
    return tuple(name for name in above if severity_rank(name) == lowest)


def _labels_of(domains: Iterable[Domain]) -> tuple[str, ...]:
    """Every label a domain depends on."""
    names = {"domain"}
    for domain in domains:
        for matcher in (*domain.matchers, *(one for some in domain.any_of for one in some)):
            names.add(matcher.name)
    return tuple(sorted(names))


def _holds(labels: Mapping[str, str], every: tuple[Matcher, ...], some: tuple[tuple[Matcher, ...], ...]) -> bool:
    return all(matcher.matches(labels) for matcher in every) and (
        not some or any(all(matcher.matches(labels) for matcher in one) for one in some)
    )


def _timed(
    timing: TimeBasedRouting | None, intervals: Mapping[str, NamedInterval]
) -> tuple[list[_Timed], list[_Timed]]:
    """The named windows and the maintenance windows."""
    if timing is None:
        return [], []
    windows = [_Timed(name, _hours(one, timing.zone, intervals), one.routes) for name, one in timing.windows.items()]
    resting = [
        _Timed(one.name, _hours(one, timing.zone, intervals), one.override_routes, one.suppress)
        for one in timing.maintenance_windows
    ]
    return windows, resting


def _hours(window: Timed, usual: str, intervals: Mapping[str, NamedInterval]) -> Timetable:
    if window.schedule is not None:
        return Timetable((Part(Schedule.parse(window.schedule), ZoneInfo(window.timezone or usual)),))
    named = (intervals[name].parts(window.timezone) for name in window.time_interval)
    return Timetable(tuple(part for parts in named for part in parts))


def _bounded(cache: dict[K, V]) -> dict[K, V]:
    if len(cache) >= _CACHED:
        cache.clear()
    return cache


def _listed(names: tuple[str, ...]) -> str:
    """As people list things: "a, b and c"."""
    *others, last = names or ("",)
    return f"{', '.join(others)} and {last}" if others else last
