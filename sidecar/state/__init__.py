"""What the rules know, as a fold over the log. Pure: it reads what was recorded, never a model, configuration or clock.

`fold(event)` is the only way in. Changes sit in a layer that `commit` keeps and `rollback` drops, so that a batch that
did not commit leaves no trace. Two replicas that folded the same rows hold the same state; `dump` and `load` make
snapshots of it.

Each module beside this one is a section: its records, and what events do to them. A new one is a table in `TABLES`, its
folds in `SECTIONS`, and when it has times, its question in `DUES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from models.statistics import Keys, Seen, Statistics
from models.table import Table
from sidecar.events import EpisodeStarted, Event, SilenceEnded
from sidecar.state import (
    arrivals,
    digests,
    episodes,
    escalations,
    incidents,
    outgoing,
    rates,
    regroup,
    shadow,
    silences,
    similar,
    starts,
    votes,
    windows,
)
from sidecar.state.arrivals import Arrival
from sidecar.state.dated import Holds
from sidecar.state.digests import Summed
from sidecar.state.escalations import Escalation, Escalations
from sidecar.state.incidents import AT_ONCE, KEPT_TIMES
from sidecar.state.outgoing import Outgoing
from sidecar.state.rates import ALL, BUDGETED, Counted, Rate, Share, within
from sidecar.state.records import (
    BY_SCORE,
    BY_WINDOW,
    EXACT,
    LIKE,
    TRAINED,
    Episode,
    Hold,
    Incident,
    Told,
    key_of,
    keys_of,
    pattern_of,
)
from sidecar.state.regroup import Pair
from sidecar.state.silences import STANDING, Muted, Silence
from sidecar.state.starts import KEPT_STARTS
from sidecar.state.votes import NOISE, REAL, Ballot, Vote, label_of
from sidecar.state.windows import Window

VERSION: Final = 3  # of the snapshot's layout; one of another layout is not read, and the log is folded from its start

# Name -> what it holds; its key is a string. Each is an attribute of the state, and a part of its snapshot.
TABLES: Final[dict[str, Any]] = {
    "episodes": Episode,  # by fingerprint
    "incidents": Incident,
    "folding": str,  # fold key -> the newest incident under it
    "settling": float,  # incident -> when people are told that it is over, unless something of it fires again
    "holds": Hold,  # by fingerprint
    "votes": tuple[Vote, ...],  # by episode
    "ballots": tuple[Ballot, ...],  # by pattern, and by alertname
    "missed": float,  # alertname -> when an alert kept back was last called real
    "withheld": tuple[str, ...],  # alertname -> its newest episodes that nobody was told of
    "kept": tuple[float, ...],  # instance, else alertname -> when alerts were kept back, the newest ones
    "silences": Silence,  # by pattern
    "starts": tuple[float, ...],  # by fingerprint
    "tallies": tuple[Counted, ...],  # by what is alike
    "rates": Rate,  # by what is counted
    "shares": tuple[Share, ...],  # by alertname, and of everything
    "outgoing": Outgoing,  # by incident
    "texts": str,  # incident -> its key among those of alerts that read alike
    "likes": tuple[str, ...],  # a text with one word blanked -> the keys of open incidents that fit: models/likeness.py
    "arrivals": tuple[Arrival, ...],  # a part of the topology -> the newest alerts told in it
    "pairs": tuple[Pair, ...],  # a kind of alerts -> the kinds that people took apart from it, or merged with it
    "kinds": tuple[str, ...],  # incident -> the kinds of alerts in it; while there are pairs
    "homes": str,  # a kind of alerts -> the incident it was last told in; likewise
    "windows": Window,  # deployment windows that are open, by name
    "escalations": Escalation,  # by incident
    "ours": str,  # id of an active silence of ours -> its pattern
    "hushed": tuple[str, ...],  # alertname -> patterns that a silence of ours hides
    "muted": Muted,  # by fingerprint, what silences in Alertmanager hide
    "freed": str,  # fingerprint of what a silence of ours hid -> why that ended early: to be decided anew
    "senders": float,  # externalURL of the Alertmanagers that are watched -> since when it is known
    "kept_back": float,  # receiver -> when something was first kept back from it since its last digest
    "digests": Summed,  # receiver -> its last digest
    "endings": SilenceEnded,  # pattern -> the end of its silence, which nobody was told of yet
    "reviews": Summed,  # receiver -> its last review of our silences
    "unreviewed": float,  # when the first silence since the last review was asked for, or ended
    "unasked": float,  # by pattern -> when a silence would have ended that mode shadow did not ask for
}
KINDS: Final[dict[str, type[Table[str, Any]]]] = {"holds": Holds, "escalations": Escalations}  # all others are plain
SECTIONS: Final = (
    rates.FOLDS,  # asks what was decided before
    episodes.FOLDS,
    starts.FOLDS,
    incidents.FOLDS,
    outgoing.FOLDS,
    votes.FOLDS,
    silences.FOLDS,
    similar.FOLDS,
    arrivals.FOLDS,
    regroup.FOLDS,
    windows.FOLDS,
    escalations.FOLDS,
    digests.FOLDS,
    shadow.FOLDS,
)  # each event goes through them in order
DUES: Final[tuple[Callable[[State], float | None], ...]] = (
    incidents.due,
    windows.due,
    escalations.due,
    silences.due,
)


class State:
    """The folded state of one shard."""

    episodes: Table[str, Episode]
    incidents: Table[str, Incident]
    folding: Table[str, str]
    settling: Table[str, float]
    holds: Holds
    votes: Table[str, tuple[Vote, ...]]
    ballots: Table[str, tuple[Ballot, ...]]
    missed: Table[str, float]
    withheld: Table[str, tuple[str, ...]]
    kept: Table[str, tuple[float, ...]]
    silences: Table[str, Silence]
    starts: Table[str, tuple[float, ...]]
    tallies: Table[str, tuple[Counted, ...]]
    rates: Table[str, Rate]
    shares: Table[str, tuple[Share, ...]]
    outgoing: Table[str, Outgoing]
    texts: Table[str, str]
    likes: Table[str, tuple[str, ...]]
    arrivals: Table[str, tuple[Arrival, ...]]
    pairs: Table[str, tuple[Pair, ...]]
    kinds: Table[str, tuple[str, ...]]
    homes: Table[str, str]
    windows: Table[str, Window]
    escalations: Escalations
    ours: Table[str, str]
    hushed: Table[str, tuple[str, ...]]
    muted: Table[str, Muted]
    freed: Table[str, str]
    senders: Table[str, float]
    kept_back: Table[str, float]
    digests: Table[str, Summed]
    endings: Table[str, SilenceEnded]
    reviews: Table[str, Summed]
    unreviewed: Table[str, float]
    unasked: Table[str, float]

    def __init__(self) -> None:
        self.seq = 0
        self.sealed = False
        self._ahead = 0
        self._hold(Statistics(), {})

    def _hold(self, statistics: Statistics, tables: dict[str, dict[str, Any]]) -> None:
        self.statistics = statistics
        for name in TABLES:
            setattr(self, name, KINDS.get(name, Table)(tables.get(name)))
        self._tables: tuple[Any, ...] = (statistics, *(getattr(self, name) for name in TABLES))

    # ------------------------------------------------------------------------------------------------------------ fold

    def fold(self, event: Event) -> None:
        """Take one event in."""
        for fold in _FOLDS[type(event)]:
            fold(self, event)

    def start(self, event: EpisodeStarted, keys: Keys, seen: Seen | None = None) -> None:
        """`fold` of an episode's start, for a caller that has its keys, and what statistics know of them, already."""
        episodes.start(self, event, keys, seen)
        for fold in _MORE_AT_START:
            fold(self, event)

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
        held = {name: getattr(self, name).committed() for name in TABLES}
        return msgspec.msgpack.encode({"seq": self.seq, "statistics": self.statistics.dump(), **held})

    @classmethod
    def load(cls, body: bytes) -> State:
        """Raises msgspec.DecodeError or ValidationError for what is not a snapshot of this layout."""
        held: Any = msgspec.msgpack.decode(body, type=_Held)
        state = cls()
        state.seq = held.seq
        state._hold(Statistics.load(held.statistics), {name: getattr(held, name) for name in TABLES})
        return state

    # ------------------------------------------------------------------------------------------------------- questions

    def next_due(self) -> float | None:
        """When the clock alone brings something to decide: the first hold to be looked at again, and the like."""
        return min((due for ask in DUES if (due := ask(self)) is not None), default=None)

    def judged(self, key: str, since: float) -> tuple[int, int]:
        """(noise, real) incidents under a pattern's key or an alertname since a time; a disputed one counts as real."""
        return votes.judged(self.ballots.get(key) or (), since)

    def noise_since_real(self, key: str, since: float) -> int:
        """Incidents judged noise after the newest that was judged real."""
        return votes.noise_since_real(self.ballots.get(key) or (), since)

    def silenced(self, now: float) -> int:
        """How many silences of ours there are in Alertmanager, as it counts them, or on their way to it."""
        return silences.counted(self.silences.values(), now)

    def silenced_by_people(self, fingerprint: str) -> bool:
        """Whether somebody else's silence hides what fires under this fingerprint."""
        muted = self.muted.get(fingerprint) if self.muted else None
        return muted is not None and any(one.silence_id not in self.ours for one in muted.by)


def _routed() -> dict[type, tuple[Callable[[State, Any], None], ...]]:
    kinds = {kind for section in SECTIONS for kind in section}
    return {kind: tuple(section[kind] for section in SECTIONS if kind in section) for kind in kinds}


_FOLDS: Final = _routed()
_MORE_AT_START: Final = _FOLDS[EpisodeStarted][1:]
_FIELDS: Final[list[Any]] = [
    (name, dict[str, kind], msgspec.field(default_factory=dict))  # type: ignore[valid-type]
    for name, kind in TABLES.items()
]
_Held: Final = msgspec.defstruct("_Held", [("seq", int), ("statistics", Any), *_FIELDS])

__all__ = [
    "ALL",
    "AT_ONCE",
    "BUDGETED",
    "BY_SCORE",
    "BY_WINDOW",
    "EXACT",
    "KEPT_STARTS",
    "KEPT_TIMES",
    "LIKE",
    "NOISE",
    "REAL",
    "STANDING",
    "TRAINED",
    "VERSION",
    "Ballot",
    "Counted",
    "Episode",
    "Escalation",
    "Hold",
    "Incident",
    "Muted",
    "Silence",
    "State",
    "Told",
    "Vote",
    "Window",
    "key_of",
    "keys_of",
    "label_of",
    "pattern_of",
    "within",
]  # fmt: skip
