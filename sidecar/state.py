"""What the rules know, as a fold over the log. Pure: it reads what was recorded, never a model, configuration or clock.

`fold(event)` is the only way in. Changes sit in a layer that `commit` keeps and `rollback` drops, so that a batch that
did not commit leaves no trace. Two replicas that folded the same rows hold the same state; `dump` and `load` make
snapshots of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.statistics import Keys, Seen, Statistics
from models.table import Table
from sidecar.domain import (
    Alert,
    Decided,
    Delivered,
    EpisodeEnded,
    EpisodeSeen,
    EpisodeStarted,
    Event,
    Given,
    Pattern,
    SilenceAsked,
    SilenceSettled,
    Swept,
    Verdict,
    Voted,
    severity_of,
    severity_rank,
)

TRAINED: Final = "fp-"  # how the version of a trained model begins
BY_SCORE: Final = "suppression_by_score"  # the rule that holds what may be noise
VERSION: Final = 2  # of the snapshot's layout; raised with a migration in `load`
KEPT_TIMES: Final = 2  # how often alerts of an instance are kept back within an hour before the next one is told
AT_ONCE: Final = 300.0  # s: what is kept back within these counts as once
BALLOTS: Final = 200  # newest labelled incidents kept per pattern and per alertname
EXACT: Final = "exact="  # how an exact deduplication key begins
NOISE = frozenset({"false_positive", "not_actionable"})
KEPT_BACK = frozenset({Verdict.SUPPRESS.value, Verdict.DIGEST.value})
REAL = frozenset({"useful", "resolved"})  # an acknowledgement alone says only that somebody looked


class Episode(Struct, frozen=True, gc=False):
    """The newest firing of a fingerprint."""

    episode: str
    starts_at: float
    last_seen: float
    keys: Keys
    ended_at: float | None = None
    incident: str = ""
    verdict: str = ""
    decided_at: float = 0.0


class Told(Struct, frozen=True, gc=False, array_like=True):
    receiver: str
    at: float  # when people were last interrupted there
    times: int
    lost: bool = False  # the message ended in the dead letters


class Incident(Struct, frozen=True, gc=False):
    """What a person sees as one thing."""

    opened_at: float
    firing: int = 0  # episodes in it that still fire
    first_told: float | None = None  # folding ends a configured time after this
    told: tuple[Told, ...] = ()
    rank: int = 0  # severity people were told of, the highest
    resolves: int = 0  # how often all of it cleared
    last: float = 0.0  # when anything happened to it

    @property
    def reached(self) -> tuple[Told, ...]:
        """Who has a message of it."""
        for one in self.told:
            if one.lost:
                return tuple([told for told in self.told if not told.lost])
        return self.told


class Hold(Struct, frozen=True, gc=False):
    due: float
    alert: Alert
    group_key: str
    since: float
    given: Given | None = None
    score: float | None = None  # for which it was held; None: for a maintenance window, or before scores were kept here


class Ballot(Struct, frozen=True, gc=False, array_like=True):
    """What people said of one episode: 1 noise, 0 real, between: they disagree."""

    episode: str
    incident: str
    label: float
    at: float
    spelled: str = ""  # its severity label, letter by letter


class Silence(Struct, frozen=True, gc=False):
    ends_at: float
    state: str  # asked | active | failed | ended
    silence_id: str = ""


class Vote(Struct, frozen=True, gc=False, array_like=True):
    who: str
    kind: str
    at: float


class Held(Struct):
    """The tables as a snapshot holds them."""

    seq: int
    statistics: Any
    episodes: dict[str, Episode]
    incidents: dict[str, Incident]
    folding: dict[str, str]
    holds: dict[str, Hold]
    votes: dict[str, tuple[Vote, ...]]
    ballots: dict[str, tuple[Ballot, ...]]
    silences: dict[str, Silence]
    missed: dict[str, float] = {}  # absent from snapshots of before it was kept
    kept: dict[str, tuple[float, ...]] = {}  # likewise


def keys_of(fingerprint: str, labels: dict[str, str]) -> Keys:
    """The keys under which statistics of an alert are kept."""
    get = labels.get
    return Keys(
        fingerprint,
        get("alertname", ""),
        get("instance", ""),
        get("service", ""),
        get("namespace", ""),
        severity_of(labels),
    )


def pattern_of(keys: Keys) -> Pattern:
    return Pattern(keys.alertname, keys.namespace, keys.service, keys.severity)


def key_of(pattern: Pattern) -> str:
    """A pattern as one string: the key of ballots and silences."""
    return "\x1f".join(pattern)


def label_of(votes: tuple[Vote, ...]) -> float | None:
    """Share of people who called it noise, among those who said noise or real; None when nobody did."""
    noise = sum(vote.kind in NOISE for vote in votes)
    real = sum(vote.kind in REAL for vote in votes)
    return noise / (noise + real) if noise + real else None


class State:
    """The folded state of one shard."""

    def __init__(self) -> None:
        self.seq = 0
        self.sealed = False
        self._ahead = 0
        self.statistics = Statistics()
        self.episodes: Table[str, Episode] = Table()  # by fingerprint
        self.incidents: Table[str, Incident] = Table()
        self.folding: Table[str, str] = Table()  # fold key -> the newest incident under it
        self.holds: Table[str, Hold] = Table()  # by fingerprint
        self.votes: Table[str, tuple[Vote, ...]] = Table()  # by episode
        self.ballots: Table[str, tuple[Ballot, ...]] = Table()  # by pattern, and by alertname
        self.silences: Table[str, Silence] = Table()  # by pattern
        self.missed: Table[str, float] = Table()  # alertname -> when an alert kept back was last called real
        self.kept: Table[str, tuple[float, ...]] = (
            Table()
        )  # instance, else alertname -> when alerts were kept back, the newest ones

    @property
    def _tables(self) -> tuple[Any, ...]:
        return (
            self.statistics,
            self.episodes,
            self.incidents,
            self.folding,
            self.holds,
            self.votes,
            self.ballots,
            self.silences,
            self.missed,
            self.kept,
        )

    # ------------------------------------------------------------------------------------------------------------ fold

    def fold(self, event: Event) -> None:
        """Take one event in."""
        _FOLDS[type(event)](self, event)

    def _start(self, event: EpisodeStarted) -> None:
        self.start(event, keys_of(event.fingerprint, event.labels))

    def start(self, event: EpisodeStarted, keys: Keys, seen: Seen | None = None) -> None:
        """`fold` of an episode's start, for a caller that has its keys, and what statistics know of them, already."""
        self.statistics.started(event.at, keys, seen)
        self.episodes.put(event.fingerprint, Episode(event.episode, event.starts_at, event.at, keys))

    def _see(self, event: EpisodeSeen) -> None:
        known = self.episodes.get(event.fingerprint)
        if known is not None and known.episode == event.episode:
            earlier = min(event.starts_at, known.starts_at)
            self.episodes.put(event.fingerprint, replace(known, last_seen=event.at, starts_at=earlier))

    def _end(self, event: EpisodeEnded) -> None:
        known = self.episodes.get(event.fingerprint)
        if known is None or known.episode != event.episode or known.ended_at is not None:
            return
        self.statistics.ended(event.at, known.keys, known.starts_at, event.ends_at)
        self.episodes.put(event.fingerprint, replace(known, ended_at=event.ends_at, last_seen=event.at))
        if event.fingerprint in self.holds:
            self.holds.drop(event.fingerprint)
        incident = self.incidents.get(known.incident) if known.incident else None
        if incident is not None:
            firing = max(0, incident.firing - 1)
            resolves = incident.resolves + (firing == 0)
            self.incidents.put(known.incident, replace(incident, firing=firing, resolves=resolves, last=event.at))

    def _decide(self, event: Decided) -> None:
        fingerprint = event.episode.rpartition("-")[0]
        known = self.episodes.get(fingerprint)
        joins = known is not None and known.episode == event.episode and known.ended_at is None
        moved = joins and known is not None and known.incident != event.incident
        if known is not None and known.episode == event.episode:
            if moved and known.incident:
                self._leave(known.incident, event.at)
            self.episodes.put(
                fingerprint, replace(known, incident=event.incident, verdict=event.verdict.value, decided_at=event.at)
            )
        kept = event.verdict is Verdict.HOLD or event.verdict is Verdict.SUPPRESS
        by_score = kept and bool(event.reasons) and event.reasons[-1].rule == BY_SCORE
        if by_score and known is not None and fingerprint not in self.holds:
            self._keep(known.keys.instance or known.keys.alertname, event.at)
        if joins and event.verdict is Verdict.HOLD and event.alert is not None and event.until is not None:
            score = event.score if by_score and event.model.startswith(TRAINED) else None
            held = Hold(event.until, event.alert, event.group_key, event.at, event.given, score)
            self.holds.put(fingerprint, held)
        elif self.holds.get(fingerprint) is not None:
            self.holds.drop(fingerprint)
        self._join(event, 1 if moved else 0)

    def _keep(self, instance: str, at: float) -> None:
        """What is kept back within some minutes counts as one."""
        known = self.kept.get(instance) or ()
        if instance and (not known or at - known[-1] >= AT_ONCE):
            self.kept.put(instance, (*known, at)[-KEPT_TIMES:])

    def _join(self, event: Decided, firing: int) -> None:
        incident = self.incidents.get(event.incident) or Incident(event.at)
        told, first, rank = incident.told, incident.first_told, incident.rank
        if event.tell or event.again:
            told = _told_now(told, (*event.tell, *event.again), event.at)
            first = event.at if first is None else first
            rank = max(rank, severity_rank(event.severity))
        opened, fires = incident.opened_at, incident.firing + firing
        self.incidents.put(event.incident, Incident(opened, fires, first, told, rank, incident.resolves, event.at))
        for key in event.keys:
            self.folding.put(key, event.incident)

    def _leave(self, name: str, at: float) -> None:
        incident = self.incidents.get(name)
        if incident is not None:
            self.incidents.put(name, replace(incident, firing=max(0, incident.firing - 1), last=at))

    def _deliver(self, event: Delivered) -> None:
        """A message that will never arrive told nobody: the receiver is told again at the next occasion."""
        incident = self.incidents.get(event.incident)
        lost = event.outcome == "dead"
        if incident is None or event.kind == "update":
            return
        if not any(one.receiver == event.receiver and one.lost != lost for one in incident.told):
            return
        told = tuple(replace(one, lost=lost) if one.receiver == event.receiver else one for one in incident.told)
        reached = [one.at for one in told if not one.lost]
        first = (incident.first_told or min(reached)) if reached else None
        self.incidents.put(event.incident, replace(incident, told=told, first_told=first))

    def _vote(self, event: Voted) -> None:
        keys = Keys(*event.keys)
        before = self.votes.get(event.episode) or ()
        others = tuple(vote for vote in before if vote.who != event.who)
        after = others if event.retracted else (*others, Vote(event.who, event.kind, event.at))
        if event.retracted and not any(vote.who == event.who and vote.kind == event.kind for vote in before):
            return  # takes back what is not there: an older reaction that a newer vote replaced already
        self.votes.put(event.episode, after)
        was, label = label_of(before), label_of(after)
        if was == label:
            return
        self.statistics.voted(event.at, keys, label, was)
        known = self.episodes.get(keys.fingerprint)
        if (
            label is not None
            and label <= 0.5
            and known is not None
            and known.episode == event.episode
            and known.verdict in KEPT_BACK
        ):
            self.missed.put(keys.alertname, event.at)
        for key in (key_of(pattern_of(keys)), keys.alertname):
            ballots = tuple(one for one in self.ballots.get(key) or () if one.episode != event.episode)
            if label is not None:
                ballots = (*ballots, Ballot(event.episode, event.incident, label, event.at, event.spelled))[-BALLOTS:]
            self.ballots.put(key, ballots)

    def _ask(self, event: SilenceAsked) -> None:
        self.silences.put(key_of(event.pattern), Silence(event.ends_at, "asked"))

    def _settle(self, event: SilenceSettled) -> None:
        key = key_of(event.pattern)
        silence = self.silences.get(key)
        if silence is not None:
            self.silences.put(key, replace(silence, state=event.outcome, silence_id=event.silence_id))

    def _sweep(self, event: Swept) -> None:
        before = event.before
        self.statistics.sweep(before)
        _forget(self.episodes, lambda episode: episode.last_seen < before)
        _forget(self.incidents, lambda incident: incident.last < before)
        _forget(self.folding, lambda name: name not in self.incidents)
        _forget(self.votes, lambda votes: all(vote.at < before for vote in votes))
        _forget(self.ballots, lambda ballots: all(ballot.at < before for ballot in ballots))
        _forget(self.silences, lambda silence: silence.ends_at < before)
        _forget(self.missed, lambda at: at < before)
        _forget(self.kept, lambda times: times[-1] < before)

    # ----------------------------------------------------------------------------------------------------- transaction

    def commit(self, seq: int) -> None:
        """Keep all changes: they are on disk as log row `seq`."""
        for table in self._tables:
            table.commit()
        self.seq, self.sealed = seq, False

    def rollback(self) -> None:
        """Forget all that is not committed."""
        for table in self._tables:
            table.rollback()
        self.sealed = False

    def seal(self, rows: int) -> None:
        """The batch is on its way to the disk as `rows` log rows, 0 or 1; the next one may be planned on top of it."""
        for table in self._tables:
            table.seal()
        self.sealed, self._ahead = True, rows

    def settle(self, seq: int) -> None:
        """The sealed batch is on disk as log row `seq`."""
        for table in self._tables:
            table.settle()
        self.seq, self.sealed = seq, False

    def undo(self) -> None:
        """Forget this batch, not the sealed one."""
        for table in self._tables:
            table.undo()

    @property
    def next_seq(self) -> int:
        """The log row that the batch being planned will be, if nobody comes between."""
        return self.seq + 1 + (self._ahead if self.sealed else 0)

    # ------------------------------------------------------------------------------------------------------- snapshots

    def dump(self) -> bytes:
        """The committed state as MessagePack, for `load`."""
        return msgspec.msgpack.encode(
            Held(
                self.seq,
                self.statistics.dump(),
                self.episodes.committed(),
                self.incidents.committed(),
                self.folding.committed(),
                self.holds.committed(),
                self.votes.committed(),
                self.ballots.committed(),
                self.silences.committed(),
                self.missed.committed(),
                self.kept.committed(),
            )
        )

    @classmethod
    def load(cls, body: bytes) -> State:
        """Raises msgspec.DecodeError or ValidationError for what is not a snapshot of this layout."""
        held = msgspec.msgpack.decode(body, type=Held)
        state = cls()
        state.seq = held.seq
        state.statistics = Statistics.load(held.statistics)
        state.episodes = Table(held.episodes)
        state.incidents = Table(held.incidents)
        state.folding = Table(held.folding)
        state.holds = Table(held.holds)
        state.votes = Table(held.votes)
        state.ballots = Table(held.ballots)
        state.silences = Table(held.silences)
        state.missed = Table(held.missed)
        state.kept = Table(held.kept)
        return state

    # ------------------------------------------------------------------------------------------------------- questions

    def next_due(self) -> float | None:
        """When the first hold is to be looked at again."""
        return min((hold.due for _, hold in self.holds.items()), default=None)

    def judged(self, key: str, since: float) -> tuple[int, int]:
        """(noise, real) incidents under a pattern's key or an alertname since a time; a disputed one counts as real."""
        labels: dict[str, float] = {}
        for ballot in self.ballots.get(key) or ():
            if ballot.at >= since:
                labels[ballot.incident] = min(ballot.label, labels.get(ballot.incident, 1.0))
        noise = sum(label > 0.5 for label in labels.values())
        return noise, len(labels) - noise

    def noise_since_real(self, key: str, since: float) -> int:
        """Incidents judged noise after the newest that was judged real: what a rung that was lost has earned anew."""
        streak: set[str] = set()
        for ballot in self.ballots.get(key) or ():
            if ballot.at < since:
                continue
            if ballot.label > 0.5:
                streak.add(ballot.incident)
            else:
                streak.clear()
        return len(streak)

    def silenced(self, now: float) -> int:
        """How many silences of ours are active or on their way."""
        return sum(
            silence.ends_at > now and silence.state in {"asked", "active"} for _, silence in self.silences.items()
        )


def _forget(table: Table[str, Any], idle: Callable[[Any], bool]) -> None:
    for key in [key for key, value in table.items() if idle(value)]:
        table.drop(key)


_FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {
    EpisodeStarted: State._start,
    EpisodeSeen: State._see,
    EpisodeEnded: State._end,
    Decided: State._decide,
    Delivered: State._deliver,
    Voted: State._vote,
    SilenceAsked: State._ask,
    SilenceSettled: State._settle,
    Swept: State._sweep,
}


def _told_now(told: tuple[Told, ...], receivers: tuple[str, ...], at: float) -> tuple[Told, ...]:
    times = {one.receiver: one.times for one in told}
    kept = tuple(one for one in told if one.receiver not in receivers)
    return (*kept, *(Told(receiver, at, times.get(receiver, 0) + 1) for receiver in receivers))
