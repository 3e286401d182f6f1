"""What operators do, and what is seen in Alertmanager: silences, deployment windows, incidents taken apart and merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.domain import Mute, Pattern
from sidecar.events import (
    EpisodeEnded,
    EpisodeUnmuted,
    Hides,
    Regrouped,
    SilenceEnded,
    SilenceProposed,
    SilenceReplayed,
    WindowClosed,
    WindowOpened,
)
from sidecar.pipeline import Inputs
from sidecar.state import key_of
from sidecar.state.regroup import kind_of
from tests.stateful.books import Firing
from tests.stateful.oracle import Oracle
from tests.stateful.reality import KINDS, Reality, Said, Thing
from tests.stateful.shard import Shard

if TYPE_CHECKING:
    from sidecar.domain import Given

LEASES = (30.0, 600.0, 3600.0)
SEVERITIES = ("INFO", "WARNING")


class Operators:
    """The steps of people who operate; the world is made of this and of what happens by itself."""

    now: float
    oracle: Oracle
    reality: Reality
    shard: Shard
    proposed: list[SilenceProposed]

    def batch(self, inputs: Inputs) -> None:
        raise NotImplementedError

    def webhook(self, said: tuple[Said, ...], given: Given | None = None) -> None:
        raise NotImplementedError

    # ----------------------------------------------------------------------------------------------------------- incidents

    def _takeout(self, thing: Thing, _: int) -> None:
        """Somebody takes what fires of an alertname out of an incident that has more than that."""
        inside = self._with(thing)
        taken = [one for one in inside if one.labels["alertname"] == thing.labels["alertname"]]
        stay = [one for one in inside if one not in taken]
        if taken and stay:
            into = f"i-{taken[0].episode}-{int(self.now * 1000)}"
            self._regroup(taken, stay, taken[0].incident, into, together=False)

    def _merge(self, thing: Thing, n: int) -> None:
        """Somebody merges the incident of a thing into another that people were told of."""
        mine, others = self._with(thing), self._with(self.reality.things[n % len(KINDS)])
        if mine and others and mine[0].incident != others[0].incident and self.oracle.was_told(others[0].incident):
            self._regroup(mine, others, mine[0].incident, others[0].incident, together=True)

    def _with(self, thing: Thing) -> list[Firing]:
        """What fires in the incident of a thing."""
        known = self.oracle.newest.get(thing.fingerprint)
        return [] if known is None or not known.open else self.oracle.inside(known.incident)

    def _regroup(self, some: list[Firing], others: list[Firing], incident: str, into: str, *, together: bool) -> None:
        pairs = tuple((_kind(one), _kind(other)) for one in some for other in others)
        episodes = tuple(one.episode for one in some)
        self.batch(Inputs(asks=(Regrouped(self.now, "ada", incident, into, together, episodes, pairs, "api"),)))

    # ------------------------------------------------------------------------------------------------ Alertmanager's silences

    def _mute(self, thing: Thing, n: int) -> None:
        """A silence hides it, ours where there is one, else a person's; the watcher sees that."""
        ours = self.shard.state.silences.get(key_of(Pattern.of(thing.labels)))
        if ours is not None and ours.state == "active":
            thing.muted = Mute(ours.silence_id, "alertmanager-sidecar", ours.ends_at)
        else:
            thing.muted = Mute(f"theirs-{n % 2}", "ada", self.now + 3600.0)
        self._watch(thing, n)

    def _watch(self, _: Thing, __: int) -> None:
        """The watcher reads what fires and is silenced, and what has ended unsaid."""
        said = self.reality.show(self.reality.things, self.now)
        gone = tuple(self._gone())
        self.oracle.hear(said, self.now, watched=True)
        for event in gone:
            self.oracle.fires[event.fingerprint] = False
        if said or gone:
            self.batch(Inputs(tuple(one.watched(self.now) for one in said), asks=gone))

    def _gone(self) -> list[EpisodeEnded]:
        """What is open for us, and Alertmanager has no more."""
        found = []
        for thing in self.reality.things:
            known = self.oracle.newest.get(thing.fingerprint)
            if known is not None and known.open and not thing.firing:
                found.append(EpisodeEnded(self.now, known.episode, thing.fingerprint, self.now))
        return found

    def _unmute(self, thing: Thing, n: int) -> None:
        """Its silence is over: the watcher says so first, or Alertmanager sends it at once."""
        if thing.muted is None:
            return
        name, thing.muted = thing.muted.silence_id, None
        known = self.oracle.newest.get(thing.fingerprint)
        if n % 2 and known is not None and known.open:
            self.batch(Inputs(asks=(EpisodeUnmuted(self.now, known.episode, thing.fingerprint, name),)))
        if thing.firing:
            self.webhook(self.reality.say([thing], self.now))

    # --------------------------------------------------------------------------------------------------------- our silences

    def _replayed(self, _: Thing, n: int) -> None:
        """The history was asked what a silence would have hidden; now and then something real."""
        if self.proposed:
            one = self.proposed.pop(0)
            real, why = (1, "it would have hidden a real one") if n % 4 == 3 else (0, "")
            hides = Hides(self.now - 86_400.0, 5, 5, 5 - real, real)
            self.batch(Inputs(asks=(SilenceReplayed(self.now, one.pattern, one.evidence, hides, why),)))

    def _revoke(self, _: Thing, n: int) -> None:
        """A person deletes a silence of ours."""
        standing = [(key, one) for key, one in self.shard.state.silences.items() if one.state == "active"]
        if standing:
            key, one = standing[n % len(standing)]
            pattern = Pattern(*key.split("\x1f"))
            ended = SilenceEnded(self.now, pattern, one.silence_id, "ada deleted it", one.hidden, "revoked")
            self.batch(Inputs(asks=(ended,)))

    # --------------------------------------------------------------------------------------------------- deployment windows

    def _window(self, thing: Thing, n: int) -> None:
        """A deployment begins, or renews its lease."""
        matcher = f'alertname="{thing.labels["alertname"]}"'
        ends_at = self.now + LEASES[n % 3]
        self.batch(Inputs(asks=(WindowOpened(self.now, f"deploy-{n % 2}", "ci", (matcher,), SEVERITIES, ends_at),)))

    def _close(self, _: Thing, n: int) -> None:
        """A deployment is over before its lease."""
        name = f"deploy-{n % 2}"
        if name in self.shard.state.windows:
            self.batch(Inputs(asks=(WindowClosed(self.now, name, "ci ended it"),)))


def _kind(firing: Firing) -> str:
    get = firing.labels.get
    return kind_of(get("alertname", ""), get("namespace", ""), get("service", ""))
