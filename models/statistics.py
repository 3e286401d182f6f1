"""Pattern statistics: a fold over starts, ends and votes, in constant time per event.

The same code serves online and replays history in time order. It reads what it is told and nothing else, no clock and
no configuration, so that two replicas that fold the same events see the same numbers, bit for bit, wherever a batch
begins and whether or not a snapshot was loaded between.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from models import ballots, detector, records
from models.ballots import Ballot
from models.detector import Hour, Moment
from models.records import DAY, Bins, Host, Series, Whole
from models.table import Table

LAYOUT: Final = 2  # of dump(); another number means that state must be rebuilt from the log

_WITH_VOTES = frozenset({"fingerprints", "names", "hosts"})
_NOT_TABLES = frozenset({"_moment", "_exposed"})
_EVERYTHING = ""  # the one key of the tables about the whole
LONG, SHORT = -1 / (30 * DAY), -1 / DAY  # votes on a rule count for weeks, on a machine for its present trouble


class Keys(NamedTuple):
    """What an alert is counted under; an absent label is an empty string, severity is in capitals."""

    fingerprint: str
    alertname: str
    instance: str
    service: str
    namespace: str
    severity: str


# Of an alert: its fingerprint, its name, votes on its pattern, its instance, votes on its service there, everything.
Seen = tuple[Series | None, Series | None, Ballot | None, Host | None, Ballot | None, Whole | None]


class Usual(NamedTuple):
    """Is what fires now unusual? `score` 0 to 1, 0 before there is a past; `seen` counts the one that arrives."""

    score: float
    expected: float  # starts in this hour of this weekday
    seen: int  # in the last hour


class Statistics:
    """What the past says about alerts. Changes stay in a layer until `commit`; `rollback` drops them."""

    __slots__ = (
        "_bins_by_fingerprint",
        "_bins_by_name",
        "_exposed",
        "_fingerprints",
        "_hosts",
        "_hours",
        "_hours_of_all",
        "_moment",
        "_names",
        "_pairs",
        "_voted_patterns",
        "_voted_services",
        "_whole",
    )

    def __init__(self) -> None:
        self._fingerprints: Table[str, Series] = Table()
        self._names: Table[str, Series] = Table()
        self._hosts: Table[str, Host] = Table()
        self._pairs: Table[tuple[str, str], tuple[float]] = Table()  # (instance, alertname) -> last start
        self._whole: Table[str, Whole] = Table()
        self._hours: Table[tuple[str, int], Hour] = Table()  # (alertname, hour of the day)
        self._hours_of_all: Table[int, Hour] = Table()
        self._bins_by_fingerprint: Table[str, Bins] = Table()
        self._bins_by_name: Table[str, Bins] = Table()
        self._voted_patterns: Table[tuple[str, str, str, str], Ballot] = Table()
        self._voted_services: Table[tuple[str, str], Ballot] = Table()  # (instance, service)
        self._moment: Moment = detector.moment(0.0)
        self._exposed = (0.0, detector.exposure(0.0))  # of an age of the history: the same for a whole batch

    # -------------------------------------------------------------------------------------------------------- the fold

    def started(self, at: float, keys: Keys, seen: Seen | None = None) -> None:
        """An episode began at `at`; `seen` is what `look` gave, with nothing folded since."""
        fingerprint, alertname, instance, _, _, severity = keys
        series, named, _, host, _, whole = seen if seen is not None else self.look(keys)
        self._fingerprints.change(fingerprint, series, records.count_start(series, at))
        name = records.count_start(named, at)
        self._names.change(alertname, named, name)
        everything = records.count_in_whole(whole, at)
        self._whole.change(_EVERYTHING, whole, everything)
        pair, pairs = (instance, alertname), self._pairs
        before = pairs.get(pair)
        rare = records.rarity(name[3], everything[3])
        counted = records.count_on_host(host, at, before, rare, severity == "CRITICAL")
        self._hosts.change(instance, host, counted)
        pairs.change(pair, before, counted[:1])
        moment = self._moment if self._moment[0] == at else self._at(at)
        key, hours, of_all = (alertname, moment[1]), self._hours, self._hours_of_all
        hour, hour_of_all = hours.get(key), of_all.get(moment[1])
        hours.change(key, hour, detector.count(hour, moment))
        of_all.change(moment[1], hour_of_all, detector.count(hour_of_all, moment))

    def _at(self, at: float) -> Moment:
        """What depends on the time alone, kept for the rest of a batch."""
        self._moment = detector.moment(at)
        return self._moment

    def ended(self, at: float, keys: Keys, starts_at: float, ends_at: float) -> None:
        """An episode that fired from `starts_at` to `ends_at` is known, at `at`, to have ended."""
        duration = max(0.0, ends_at - starts_at)
        fingerprint, alertname, instance = keys[:3]
        series, named = self._fingerprints.get(fingerprint), self._names.get(alertname)
        self._fingerprints.change(fingerprint, series, records.count_end(series, at, duration))
        self._names.change(alertname, named, records.count_end(named, at, duration))
        moment = self._moment if self._moment[0] == at else self._at(at)
        weight = self._false_share(fingerprint, alertname) * moment[3]
        bucket = records.bucket_of(duration)
        for bins, key in ((self._bins_by_fingerprint, fingerprint), (self._bins_by_name, alertname)):
            record = bins.get(key)
            bins.change(key, record, records.count_duration(record, at, bucket, weight))
        self._deactivate(instance, keys.severity == "CRITICAL")

    def _false_share(self, fingerprint: str, alertname: str) -> float:
        """How much an episode counts as one of a false positive: what votes say, 1 where nobody voted."""
        for record in (self._fingerprints.get(fingerprint), self._names.get(alertname)):
            if record is not None and record[7] is not None:
                return record[7][2]
        return 1.0

    def _deactivate(self, instance: str, critical: bool) -> None:
        """One less is active; an instance that was swept took its active alerts with it."""
        host, whole = self._hosts.get(instance), self._whole.get(_EVERYTHING)
        if host is None or whole is None or host[7] <= 0:
            return
        criticals = host[8] - 1 if critical and host[8] > 0 else host[8]
        self._hosts.change(instance, host, (*host[:7], host[7] - 1, criticals, host[9]))
        self._whole.change(_EVERYTHING, whole, (*whole[:4], whole[4] - 1 if whole[4] > 0 else 0))

    def voted(self, at: float, keys: Keys, label: float | None, was: float | None) -> None:
        """An episode's label went from `was` to `label`: 1.0 false positive, 0.0 real, None no vote on it."""
        fingerprint, alertname, instance, service, namespace, severity = keys
        for table, key in ((self._fingerprints, fingerprint), (self._names, alertname)):
            record = table.get(key) or (at, at, 0.0, 0.0, 0.0, -1.0, -1.0, None)
            table.put(key, (*record[:7], ballots.cast(record[7], at, label, was, per_life=LONG)))
        host = self._hosts.get(instance) or (at, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, None)
        self._hosts.put(instance, (*host[:9], ballots.cast(host[9], at, label, was, per_life=SHORT)))
        pattern, place = (alertname, namespace, service, severity), (instance, service)
        _put(
            self._voted_patterns,
            pattern,
            ballots.cast(self._voted_patterns.get(pattern), at, label, was, per_life=LONG),
        )
        _put(self._voted_services, place, ballots.cast(self._voted_services.get(place), at, label, was, per_life=SHORT))

    # -------------------------------------------------------------------------------------------------- what is asked

    def began(self) -> float | None:
        """When the first event was; None before it."""
        whole = self._whole.get(_EVERYTHING)
        return None if whole is None else whole[1]

    def look(self, keys: Keys) -> Seen:
        """The records that describe an alert, as they are."""
        fingerprint, alertname, instance, service, namespace, severity = keys
        return (
            self._fingerprints.get(fingerprint),
            self._names.get(alertname),
            self._voted_patterns.get((alertname, namespace, service, severity)),
            self._hosts.get(instance),
            self._voted_services.get((instance, service)),
            self._whole.get(_EVERYTHING),
        )

    def anomaly(
        self, alertname: str, name: tuple[float, float], everything: tuple[float, float], first: float, now: float
    ) -> tuple[float, float]:
        """How unusual one more start is now, 0..1: of this name, and of anything.

        `name` and `everything` are starts in (1 h, 7 d) as of `now`; the history began at `first`.
        """
        if now <= first:
            return (0.0, 0.0)
        moment = self._moment if self._moment[0] == now else self._at(now)
        age = now - first
        if self._exposed[0] != age:
            self._exposed = (age, detector.exposure(age))
        exposed = self._exposed[1]
        return (
            detector.score(name, self._hours.get((alertname, moment[1])), moment, exposed),
            detector.score(everything, self._hours_of_all.get(moment[1]), moment, exposed),
        )

    def usual(self, alertname: str, now: float) -> tuple[Usual, Usual]:
        """What the alert-pattern-detector sees in one more start now: of this name, and of anything."""
        whole, moment = self._whole.get(_EVERYTHING), detector.moment(now)
        name, everything = records.starts(self._names.get(alertname), now), records.starts_anywhere(whole, now)
        first = now if whole is None else whole[1]
        scores = self.anomaly(alertname, name, everything, first, now)
        exposed = detector.exposure(max(0.0, now - first))
        past = (self._hours.get((alertname, moment[1])), self._hours_of_all.get(moment[1]))
        named, overall = (
            Usual(score, detector.usual(starts, record, moment, exposed), detector.arrivals(starts))
            for score, starts, record in zip(scores, (name, everything), past, strict=True)
        )
        return named, overall

    def clears_within(self, keys: Keys, q: float, now: float) -> float | None:
        """Seconds within which a share `q` of the false positives of this alert, else of its name, cleared.

        None when too few are known, or when it takes them over an hour.
        """
        each = detector.moment(now)[3]
        bins = self._bins_by_fingerprint.get(keys.fingerprint)
        if bins is None or sum(bins[1:]) < records.ENOUGH * each:
            bins = self._bins_by_name.get(keys.alertname)
        return records.quantile(bins, q, each)

    # ---------------------------------------------------------------------------------------------------- the tables

    def _tables(self) -> dict[str, Table[Any, Any]]:
        return {name[1:]: getattr(self, name) for name in self.__slots__ if name not in _NOT_TABLES}

    def commit(self) -> None:
        for table in self._tables().values():
            table.commit()

    def rollback(self) -> None:
        for table in self._tables().values():
            table.rollback()

    def seal(self) -> None:
        """Set the changes apart as a batch on its way to the disk: see `Table.seal`."""
        for table in self._tables().values():
            table.seal()

    def settle(self) -> None:
        for table in self._tables().values():
            table.settle()

    def undo(self) -> None:
        for table in self._tables().values():
            table.undo()

    def sweep(self, before: float) -> None:
        """Forget keys without an event since `before`; their active alerts no longer count as active anywhere."""
        lost = 0
        for name, table in self._tables().items():
            if name == "whole":
                continue
            for key, value in list(table.items()):
                if _newest(name, value) < before:
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
            for key, value in dumped[name]:
                table.put(_frozen(key), _frozen(value))
        statistics.commit()
        return statistics


def _put(table: Table[Any, Ballot], key: tuple[str, ...], ballot: Ballot | None) -> None:
    if ballot is None:
        table.drop(key)
    else:
        table.put(key, ballot)


def _newest(table: str, record: tuple[Any, ...]) -> float:
    """When a record last saw an event; in some a ballot lies last, with a time of its own."""
    newest: float = record[0]
    return newest if table not in _WITH_VOTES or record[-1] is None else max(newest, record[-1][0])


def _frozen(value: Any) -> Any:
    """Lists back to the tuples they were."""
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
