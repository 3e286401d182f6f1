"""Pattern statistics: a fold over starts, ends and votes, in constant time per event.

The same code serves online and replays history in time order. It reads what it is told and nothing else, no clock and
no configuration, so that two replicas that fold the same events see the same numbers, bit for bit, wherever a batch
begins and whether or not a snapshot was loaded between.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from models import ballots, detector, records
from models.ballots import Ballot
from models.detector import Cell
from models.records import DAY, Bins, Host, Series, Whole
from models.table import Table

LAYOUT: Final = 1  # of dump(); another number means that state must be rebuilt from the log

_EVERYTHING = ""  # the one key of the tables about the whole
_LONG, _SHORT = -1 / (30 * DAY), -1 / DAY  # votes on a rule count for weeks, on a machine for its present trouble


class Keys(NamedTuple):
    """What an alert is counted under; an absent label is an empty string, severity is in capitals."""

    fingerprint: str
    alertname: str
    instance: str
    service: str
    namespace: str
    severity: str


class Statistics:
    """What the past says about alerts. Changes stay in a layer until `commit`; `rollback` drops them."""

    __slots__ = (
        "_bins_by_fingerprint",
        "_bins_by_name",
        "_cells",
        "_cells_of_all",
        "_fingerprints",
        "_hosts",
        "_names",
        "_pairs",
        "_services",
        "_voted_fingerprints",
        "_voted_hosts",
        "_voted_names",
        "_voted_patterns",
        "_voted_services",
        "_whole",
    )

    def __init__(self) -> None:
        self._fingerprints: Table[str, Series] = Table()
        self._names: Table[str, Series] = Table()
        self._services: Table[tuple[str, str], Series] = Table()  # (instance, service)
        self._hosts: Table[str, Host] = Table()
        self._pairs: Table[tuple[str, str], tuple[float]] = Table()  # (instance, alertname) -> last start
        self._whole: Table[str, Whole] = Table()
        self._cells: Table[tuple[str, int], Cell] = Table()  # (alertname, slot)
        self._cells_of_all: Table[int, Cell] = Table()
        self._bins_by_fingerprint: Table[str, Bins] = Table()
        self._bins_by_name: Table[str, Bins] = Table()
        self._voted_fingerprints: Table[str, Ballot] = Table()
        self._voted_names: Table[str, Ballot] = Table()
        self._voted_patterns: Table[tuple[str, str, str, str], Ballot] = Table()
        self._voted_hosts: Table[str, Ballot] = Table()
        self._voted_services: Table[tuple[str, str], Ballot] = Table()

    # -------------------------------------------------------------------------------------------------------- the fold

    def started(self, at: float, keys: Keys) -> None:
        """An episode began at `at`."""
        fingerprint, alertname, instance, service, _, severity = keys
        names, hosts, whole = self._names, self._hosts, self._whole
        name, everything = names.get(alertname), whole.get(_EVERYTHING)
        pair = (instance, alertname)
        before = self._pairs.get(pair)
        rare = 0.0
        if everything is not None:
            rare = records.surprise(records.starts(name, at)[1], records.starts_anywhere(everything, at)[1])
        last = None if before is None else before[0]
        host = records.count_on_host(hosts.get(instance), at, last, rare, severity == "CRITICAL")
        hosts.put(instance, host)
        self._pairs.put(pair, (host[0],))
        self._fingerprints.put(fingerprint, records.count_start(self._fingerprints.get(fingerprint), at))
        names.put(alertname, records.count_start(name, at))
        place = (instance, service)
        self._services.put(place, records.count_start(self._services.get(place), at))
        whole.put(_EVERYTHING, records.count_in_whole(everything, at))
        self._count_cells(at, alertname)

    def _count_cells(self, at: float, alertname: str) -> None:
        cells, of_all, count = self._cells, self._cells_of_all, detector.count
        of_week, of_day = detector.slots(at)
        week, day = (alertname, of_week), (alertname, of_day)
        cells.put(week, count(cells.get(week), at))
        cells.put(day, count(cells.get(day), at))
        of_all.put(of_week, count(of_all.get(of_week), at))
        of_all.put(of_day, count(of_all.get(of_day), at))

    def ended(self, at: float, keys: Keys, starts_at: float, ends_at: float) -> None:
        """An episode that fired from `starts_at` to `ends_at` is known, at `at`, to have ended."""
        duration = max(0.0, ends_at - starts_at)
        fingerprint, alertname, instance = keys[:3]
        self._fingerprints.put(fingerprint, records.count_end(self._fingerprints.get(fingerprint), at, duration))
        self._names.put(alertname, records.count_end(self._names.get(alertname), at, duration))
        weight = self._false_share(fingerprint, alertname)
        for bins, key in ((self._bins_by_fingerprint, fingerprint), (self._bins_by_name, alertname)):
            bins.put(key, records.count_duration(bins.get(key), at, duration, weight))
        self._deactivate(instance, keys.severity == "CRITICAL")

    def _false_share(self, fingerprint: str, alertname: str) -> float:
        """How much an episode counts as one of a false positive: what votes say, 1 where nobody voted."""
        for ballot in (self._voted_fingerprints.get(fingerprint), self._voted_names.get(alertname)):
            if ballot is not None and ballot.false + ballot.real > 0.0:
                return ballot.false / (ballot.false + ballot.real)
        return 1.0

    def _deactivate(self, instance: str, critical: bool) -> None:
        """One less is active; an instance that was swept took its active alerts with it."""
        host, whole = self._hosts.get(instance), self._whole.get(_EVERYTHING)
        if host is None or whole is None or host[7] <= 0:
            return
        self._hosts.put(instance, (*host[:7], host[7] - 1, max(0, host[8] - critical)))
        self._whole.put(_EVERYTHING, (*whole[:4], max(0, whole[4] - 1)))

    def voted(self, at: float, keys: Keys, label: float | None, was: float | None) -> None:
        """An episode's label went from `was` to `label`: 1.0 false positive, 0.0 real, None no vote on it."""
        fingerprint, alertname, instance, service, namespace, severity = keys
        _cast(self._voted_fingerprints, fingerprint, at, label, was, _LONG)
        _cast(self._voted_names, alertname, at, label, was, _LONG)
        _cast(self._voted_patterns, (alertname, namespace, service, severity), at, label, was, _LONG)
        _cast(self._voted_hosts, instance, at, label, was, _SHORT)
        _cast(self._voted_services, (instance, service), at, label, was, _SHORT)

    # -------------------------------------------------------------------------------------------------- what is asked

    def votes(self, keys: Keys, now: float) -> tuple[float, ...]:
        """15 numbers: (last label, share of false, evidence) by fingerprint, name, pattern, instance, its service."""
        fingerprint, alertname, instance, service, namespace, severity = keys
        name = self._voted_names.get(alertname)
        # A name without votes has no fingerprint and no pattern with any, an instance no service: mostly nothing to ask.
        if name is None:
            of_rule = ballots.NO_VOTES * 3
        else:
            of_rule = (
                *ballots.view(self._voted_fingerprints.get(fingerprint), now, _LONG),
                *ballots.view(name, now, _LONG),
                *ballots.view(self._voted_patterns.get((alertname, namespace, service, severity)), now, _LONG),
            )
        host = self._voted_hosts.get(instance)
        if host is None:
            return of_rule + ballots.NO_VOTES * 2
        return (
            *of_rule,
            *ballots.view(host, now, _SHORT),
            *ballots.view(self._voted_services.get((instance, service)), now, _SHORT),
        )

    def series(self, keys: Keys) -> tuple[Series | None, Series | None, Series | None]:
        """The records of the fingerprint, of the name, and of the instance's service."""
        fingerprint, alertname, instance, service, _, _ = keys
        return self._fingerprints.get(fingerprint), self._names.get(alertname), self._services.get((instance, service))

    def host(self, instance: str) -> Host | None:
        return self._hosts.get(instance)

    def whole(self) -> Whole | None:
        return self._whole.get(_EVERYTHING)

    def anomaly(
        self, alertname: str, name: tuple[float, float], everything: tuple[float, float], age: float, now: float
    ) -> tuple[float, float]:
        """How unusual one more start is now, 0..1: of this name, and of anything.

        `name` and `everything` are starts in (1 h, 7 d) as of `now`, `age` is the seconds of history there are.
        """
        if age <= 0.0:
            return (0.0, 0.0)
        of_week, of_day = detector.slots(now)
        cells, of_all, exposed = self._cells, self._cells_of_all, detector.exposure(age)
        return (
            detector.score(*name, cells.get((alertname, of_week)), cells.get((alertname, of_day)), now, exposed),
            detector.score(*everything, of_all.get(of_week), of_all.get(of_day), now, exposed),
        )

    def clears_within(self, keys: Keys, q: float) -> float | None:
        """Seconds within which a share `q` of the false positives of this alert, else of its name, cleared.

        None when too few are known, or when it takes them over an hour.
        """
        bins = self._bins_by_fingerprint.get(keys.fingerprint)
        if bins is None or sum(bins[1:]) < records.ENOUGH:
            bins = self._bins_by_name.get(keys.alertname)
        return records.quantile(bins, q)

    # ---------------------------------------------------------------------------------------------------- the tables

    def _tables(self) -> dict[str, Table[Any, Any]]:
        return {name[1:]: getattr(self, name) for name in self.__slots__}

    def commit(self) -> None:
        for table in self._tables().values():
            table.commit()

    def rollback(self) -> None:
        for table in self._tables().values():
            table.rollback()

    def sweep(self, before: float) -> None:
        """Forget keys without an event since `before`; their active alerts no longer count as active anywhere."""
        lost = 0
        for name, table in self._tables().items():
            if name == "whole":
                continue
            for key, value in list(table.items()):
                if value[0] < before:
                    table.drop(key)
                    lost += value[7] if name == "hosts" else 0
        whole = self._whole.get(_EVERYTHING)
        if whole is not None and lost:
            self._whole.put(_EVERYTHING, (*whole[:4], max(0, whole[4] - lost)))

    def dump(self) -> dict[str, Any]:
        """What is committed, as builtins that JSON and msgpack carry without loss; equal states dump equal values."""
        tables = {
            name: [
                [list(key) if isinstance(key, tuple) else key, list(value)]
                for key, value in sorted(table.committed().items())
            ]
            for name, table in self._tables().items()
        }
        return {"layout": LAYOUT, **tables}

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> Statistics:
        """What `dump` gave. Raises ValueError for another layout."""
        if dumped.get("layout") != LAYOUT:
            raise ValueError(f"statistics have layout {dumped.get('layout')!r}, this version reads {LAYOUT}")
        statistics = cls()
        for name, table in statistics._tables().items():
            make = _ballot if name.startswith("voted") else tuple
            for key, value in dumped[name]:
                table.put(tuple(key) if isinstance(key, list) else key, make(value))
        statistics.commit()
        return statistics


def _cast(
    table: Table[Any, Ballot], key: object, at: float, label: float | None, was: float | None, per_life: float
) -> None:
    ballot = ballots.cast(table.get(key), at, label, was, per_life)
    if ballot is None:
        table.drop(key)
    else:
        table.put(key, ballot)


def _ballot(value: list[Any]) -> Ballot:
    at, false, real, labels, recent, last = value
    return Ballot(at, false, real, labels, tuple((when, label) for when, label in recent), last)
