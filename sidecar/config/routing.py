"""Who is told: severity, domain and time to receivers. Answers are cached, since every alert asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from sidecar.calendar import Schedule
from sidecar.config.matchers import Matcher
from sidecar.config.specified import Domain, TimeBasedRouting

K = TypeVar("K")
V = TypeVar("V")
_CACHED = 8192  # answers kept per question; then all are forgotten, so that labels cannot grow the memory


class Route(NamedTuple):
    """Where an alert belongs, and why."""

    receivers: tuple[str, ...]
    rule: str  # "time_based_routing.off_hours", "time_based_routing.maintenance_windows", "default"
    sentence: str  # for people
    roles: tuple[str, ...] = ()  # what the rule named
    unmapped: tuple[str, ...] = ()  # roles that no receiver has: the default receiver stands in


class _Timed(NamedTuple):
    """A window, ready to be asked."""

    name: str
    schedule: Schedule
    zone: ZoneInfo
    routes: Mapping[str, tuple[str, ...]]
    suppress: tuple[str, ...] = ()

    def active(self, now: float) -> bool:
        return self.schedule.active(now, self.zone)


class Router:
    """Answers `domain_of`, `route` and `maintenance` for one configuration."""

    def __init__(
        self,
        domains: Mapping[str, Domain],
        timing: TimeBasedRouting | None,
        receivers: Iterable[str],
        default: str,
    ) -> None:
        self._domains = [(name, domain.matchers, domain.any_of) for name, domain in domains.items()]
        self._roles = {name: domain.roles for name, domain in domains.items()}
        self._names = _labels_of(domains.values())
        self._receivers = frozenset(receivers)
        self._default = default
        self._windows, self._maintenance = _timed(timing)
        self._timing = timing is not None
        self._domain_cache: dict[tuple[str | None, ...], str] = {}
        self._route_cache: dict[tuple[str | int | None, ...], Route] = {}
        self._rest_cache: dict[tuple[str, int], tuple[str, float] | None] = {}

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
                (window.name, window.schedule.ends(now, window.zone))
                for window in self._maintenance
                if severity in window.suppress and window.active(now)
            ]
            _bounded(self._rest_cache)[key] = max(resting, key=lambda one: one[1], default=None)
        return self._rest_cache[key]

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


def _timed(timing: TimeBasedRouting | None) -> tuple[list[_Timed], list[_Timed]]:
    """The named windows and the maintenance windows."""
    if timing is None:
        return [], []
    parse: Callable[[str], Schedule] = Schedule.parse
    windows = [
        _Timed(name, parse(one.schedule), ZoneInfo(one.timezone or timing.zone), one.routes)
        for name, one in timing.windows.items()
    ]
    resting = [
        _Timed(one.name, parse(one.schedule), ZoneInfo(one.timezone or timing.zone), one.override_routes, one.suppress)
        for one in timing.maintenance_windows
    ]
    return windows, resting


def _bounded(cache: dict[K, V]) -> dict[K, V]:
    if len(cache) >= _CACHED:
        cache.clear()
    return cache


def _listed(names: tuple[str, ...]) -> str:
    """As people list things: "a, b and c"."""
    *others, last = names or ("",)
    return f"{', '.join(others)} and {last}" if others else last
