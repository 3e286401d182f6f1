"""Votes: what people said of episodes, and what that says of patterns and alertnames."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from models.statistics import Keys
from sidecar.domain import Verdict
from sidecar.events import Decided, Swept, Voted
from sidecar.state.records import forget, key_of, pattern_of

if TYPE_CHECKING:
    from sidecar.state import State

BALLOTS: Final = 200  # newest labelled incidents kept per pattern and per alertname
WITHHELD: Final = 200  # newest episodes kept back that are remembered per alertname
NOISE: Final = frozenset({"false_positive", "not_actionable"})
REAL: Final = frozenset({"useful", "resolved"})  # an acknowledgement alone says only that somebody looked
KEPT_BACK: Final = frozenset({Verdict.SUPPRESS, Verdict.DIGEST})


class Vote(Struct, frozen=True, gc=False, array_like=True):
    who: str
    kind: str
    at: float


class Ballot(Struct, frozen=True, gc=False, array_like=True):
    """What people said of one episode: 1 noise, 0 real, between: they disagree."""

    episode: str
    incident: str
    label: float
    at: float
    spelled: str = ""  # its severity label, letter by letter


def label_of(votes: tuple[Vote, ...]) -> float | None:
    """Share of people who called it noise, among those who said noise or real; None when nobody did."""
    noise = sum(vote.kind in NOISE for vote in votes)
    real = sum(vote.kind in REAL for vote in votes)
    return noise / (noise + real) if noise + real else None


def judged(ballots: tuple[Ballot, ...], since: float) -> tuple[int, int]:
    """(noise, real) incidents since a time; a disputed one counts as real."""
    labels: dict[str, float] = {}
    for ballot in ballots:
        if ballot.at >= since:
            labels[ballot.incident] = min(ballot.label, labels.get(ballot.incident, 1.0))
    noise = sum(label > 0.5 for label in labels.values())
    return noise, len(labels) - noise


def noise_since_real(ballots: tuple[Ballot, ...], since: float) -> int:
    """Incidents judged noise after the newest that was judged real: what a rung that was lost has earned anew."""
    streak: set[str] = set()
    for ballot in ballots:
        if ballot.at < since:
            continue
        if ballot.label > 0.5:
            streak.add(ballot.incident)
        else:
            streak.clear()
    return len(streak)


def _vote(state: State, event: Voted) -> None:
    keys = Keys(*event.keys)
    before = state.votes.get(event.episode) or ()
    others = tuple(vote for vote in before if vote.who != event.who)
    after = others if event.retracted else (*others, Vote(event.who, event.kind, event.at))
    if event.retracted and not any(vote.who == event.who and vote.kind == event.kind for vote in before):
        return  # takes back what is not there: an older reaction that a newer vote replaced already
    state.votes.put(event.episode, after)
    was, label = label_of(before), label_of(after)
    if was == label:
        return
    state.statistics.voted(event.at, keys, label, was)
    if label is not None and label <= 0.5 and event.episode in (state.withheld.get(keys.alertname) or ()):
        state.missed.put(keys.alertname, event.at)
    for key in (key_of(pattern_of(keys)), keys.alertname):
        ballots = tuple(one for one in state.ballots.get(key) or () if one.episode != event.episode)
        if label is not None:
            ballots = (*ballots, Ballot(event.episode, event.incident, label, event.at, event.spelled))[-BALLOTS:]
        state.ballots.put(key, ballots)


def _withhold(state: State, event: Decided) -> None:
    """Remember what was kept back, until it is told: a vote on it may come long after its next firing."""
    kept = event.verdict in KEPT_BACK
    if not kept and not state.withheld:
        return
    fingerprint = event.episode.rpartition("-")[0]
    if kept and state.silenced_by_people(fingerprint):
        return  # no miss of ours
    known = state.episodes.get(fingerprint)
    if known is None or known.episode != event.episode:
        return
    name = known.keys.alertname
    before = state.withheld.get(name) or ()
    if kept and event.episode not in before:
        state.withheld.put(name, (*before, event.episode)[-WITHHELD:])
    elif not kept and event.verdict is not Verdict.HOLD and event.episode in before:
        state.withheld.put(name, tuple([one for one in before if one != event.episode]))


def _sweep(state: State, event: Swept) -> None:
    before = event.before
    forget(state.votes, lambda votes: all(vote.at < before for vote in votes))
    forget(state.ballots, lambda ballots: all(ballot.at < before for ballot in ballots))
    forget(state.missed, lambda at: at < before)
    forget(state.withheld, lambda kept: all(int(one.rpartition("-")[2]) < before * 1000 for one in kept))


FOLDS: Final[dict[type, Callable[[State, Any], None]]] = {Decided: _withhold, Voted: _vote, Swept: _sweep}
