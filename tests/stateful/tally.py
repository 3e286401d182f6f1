"""What people said, counted by hand: the votes on incidents, and the silences that were asked for."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.domain import Pattern
from sidecar.events import SilenceAsked, SilenceEnded, SilenceSettled, Voted

NOISE = ("false_positive", "not_actionable")
REAL = ("useful", "resolved")


class Tally:
    """Everything that was ever voted; `noise` and `judged` count incidents."""

    def __init__(self) -> None:
        self._votes: dict[str, dict[str, str]] = {}  # episode -> person -> what they said last
        self._of: dict[str, Voted] = {}  # episode -> the vote that changed what it is called
        self._silences: dict[Pattern, tuple[float, str]] = {}

    def note(self, event: Voted | SilenceAsked | SilenceSettled | SilenceEnded) -> None:
        match event:
            case Voted():
                self._vote(event)
            case SilenceAsked():
                self._silences[event.pattern] = (event.ends_at, "asked")
            case SilenceSettled() if self._silences.get(event.pattern, ("", ""))[1] == "asked":
                self._silences[event.pattern] = (self._silences[event.pattern][0], event.outcome)
            case SilenceEnded():
                self._silences[event.pattern] = (0.0, "ended")

    def _vote(self, event: Voted) -> None:
        said = self._votes.setdefault(event.episode, {})
        before = _label(said)
        if not event.retracted:
            said[event.who] = event.kind
        elif said.get(event.who) == event.kind:
            del said[event.who]
        if _label(said) != before:
            self._of[event.episode] = event

    def noise(self, labels: dict[str, str]) -> int:
        """How many incidents of an alertname were ever called noise and not real."""
        noise, _ = self._incidents(lambda vote: vote.keys[1] == labels["alertname"])
        return noise

    def judged(self, pattern: Pattern, since: float) -> tuple[int, int]:
        """(noise, real) incidents of a pattern since a time."""
        place = (1, 4, 3, 5)
        return self._incidents(lambda vote: vote.at >= since and tuple(vote.keys[n] for n in place) == tuple(pattern))

    def _incidents(self, concerns: Callable[[Voted], bool]) -> tuple[int, int]:
        verdicts: dict[str, bool] = {}
        for episode, said in self._votes.items():
            share = _label(said)
            if share is not None and concerns(vote := self._of[episode]):
                verdicts[vote.incident] = share > 0.5 and verdicts.get(vote.incident, True)
        noise = sum(verdicts.values())
        return noise, len(verdicts) - noise

    def asked(self, labels: dict[str, str], at: float) -> bool:
        """Whether a silence that hides these labels is on its way to Alertmanager."""
        pattern = Pattern.of(labels)
        ends_at, state = self._silences.get(pattern, (0.0, ""))
        return state == "asked" and ends_at > at

    def ended(self, pattern: Pattern) -> bool:
        """Whether the last silence of a pattern has ended."""
        return self._silences.get(pattern, (0.0, ""))[1] == "ended"

    def standing(self, at: float) -> int:
        """How many silences are active or on their way."""
        return sum(ends_at > at and state in ("asked", "active") for ends_at, state in self._silences.values())


def _label(said: dict[str, str]) -> float | None:
    """The share that called it noise; None when nobody called it noise or real."""
    noise = sum(kind in NOISE for kind in said.values())
    real = sum(kind in REAL for kind in said.values())
    return noise / (noise + real) if noise + real else None
