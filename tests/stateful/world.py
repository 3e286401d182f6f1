"""A world in which a sequence of steps happens to one shard: reality, Alertmanager, people, the outbox and the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.domain import Delivery, Given, SilenceRequest
from sidecar.events import Delivered, EpisodeStarted, SilenceProposed, SilenceSettled, Voted
from sidecar.pipeline import Inputs
from sidecar.rules.digest import next_digest
from sidecar.state import keys_of
from tests.stateful.books import Broken
from tests.stateful.configurations import FILES, configured
from tests.stateful.operators import Operators
from tests.stateful.oracle import Oracle
from tests.stateful.reality import KINDS, LATE, Reality, Said, Thing
from tests.stateful.shard import Hostile, Shard

MORNING = 1_795_000_000.0  # 11:06 UTC on a Wednesday: maintenance begins in an hour
WAITS = (1.0, 15.0, 59.0, 61.0, 299.0, 661.0, 3601.0, 7200.0, 14_400.0, 86_400.0)
AGES = (0.0, 5.0, 30.0, 90.0, 400.0, 900.0, 3000.0, 7200.0, 0.0, 0.0)
KINDS_OF_VOTES = ("false_positive", "useful", "false_positive", "not_actionable", "ack", "resolved")
PEOPLE = ("ada", "grace", "linus")
FORGET = 60 * 86_400.0
MOST_TURNS = 10  # of the ticker at one moment, for what one turn would do


class World(Operators):
    """`do` runs one step; the oracle checks after every batch."""

    def __init__(self, file: str, mode: str, proven: bool, hour: int = 0) -> None:
        self.now = MORNING + 3600.0 * hour
        self.config = configured(file, mode)
        self.scoring = Hostile(proven, lambda: self.now)
        self.shard = Shard(self.config, self.scoring)
        self.reality = Reality()
        names = [receiver.name for receiver in self.config.receivers]
        self.oracle = Oracle(FILES[file][1], mode, proven, {name: self.config.targets(name) for name in names})
        self.waiting: list[Delivery] = []  # the outbox
        self.dead: list[Delivery] = []
        self.started: list[EpisodeStarted] = []
        self.proposed: list[SilenceProposed] = []
        self.way = 0

    # ------------------------------------------------------------------------------------------------------------- batches

    def webhook(self, said: tuple[Said, ...], given: Given | None = None) -> None:
        self.oracle.hear(said, self.now)
        self.batch(Inputs(tuple(one.received(self.now, given) for one in said)))

    def batch(self, inputs: Inputs) -> None:
        """Decide by the ways in turn."""
        self.way += 1
        ways: dict[int, Callable[[], Any]] = {
            1: lambda: [self.shard.decide_twice(inputs, self.now)],
            2: lambda: [self.shard.fail_first(inputs, self.now)],
            3: lambda: self.shard.overlap(inputs, self.now, fails=False),
            4: lambda: self.shard.overlap(inputs, self.now, fails=True),
        }
        for made in ways.get(self.way % 8, lambda: [self.shard.decide(inputs, self.now)])():
            self.oracle.note(made, self.now)
            self.waiting += made.deliveries
            self.started += [event for event in made.events if isinstance(event, EpisodeStarted)]
            self.proposed += [event for event in made.events if isinstance(event, SilenceProposed)]
        self.oracle.check(self.shard.state)

    def wait(self, seconds: float) -> None:
        """Time passes, and the clock's tick comes when something is due."""
        until, turns = self.now + seconds, 0
        while (due := self._next()) is not None and due <= until:
            turns = turns + 1 if due <= self.now else 0
            if turns > MOST_TURNS:
                raise Broken(f"the clock's work of {due} is never done")
            self.now = max(self.now, due)
            self.batch(Inputs())
        self.now = until
        self.batch(Inputs())

    def _next(self) -> float | None:
        dues = (self.shard.state.next_due(), next_digest(self.shard.state, self.config))
        return min((due for due in dues if due is not None), default=None)

    # --------------------------------------------------------------------------------------------------------------- steps

    def do(self, step: str, which: int, n: int) -> None:
        """One step; `which` is a thing, `n` what it takes beside."""
        self.now += 1.0  # no two batches are planned at the same moment
        getattr(self, f"_{step}")(self.reality.things[which % len(KINDS)], n)

    def _rest(self, _: Thing, n: int) -> None:
        self.now += n

    def _tick(self, _: Thing, n: int) -> None:
        self.wait(WAITS[n])

    def _away(self, _: Thing, n: int) -> None:
        """Nobody decides for a while."""
        self.now += WAITS[n]
        self.batch(Inputs())

    def _score(self, _: Thing, n: int) -> None:
        self.scoring.first = n

    def _fire(self, thing: Thing, n: int) -> None:
        self.reality.start(thing, self.now, AGES[n])
        self.webhook(self.reality.say([thing], self.now))

    def _burst(self, thing: Thing, n: int) -> None:
        first = self.reality.things.index(thing)
        many = [self.reality.things[(first + k) % len(KINDS)] for k in range(2 + n // 2)]
        for one in many:
            self.reality.start(one, self.now, AGES[n])
        self.webhook(self.reality.say(many, self.now))

    def _given(self, thing: Thing, n: int) -> None:
        """A model of somebody else has scored it."""
        self.reality.start(thing, self.now, 0.0)
        self.webhook(self.reality.say([thing], self.now), Given(n / 9, "theirs"))

    def _repeat(self, thing: Thing, _: int) -> None:
        if thing.firing:
            self.webhook(self.reality.say([thing], self.now))

    def _group(self, thing: Thing, _: int) -> None:
        """Alertmanager repeats a whole group, with what has ended in it."""
        name = thing.labels["alertname"]
        recent = [one for one in self.reality.things if one.firing or self.now - one.end < LATE]
        said = self.reality.say([one for one in recent if one.labels["alertname"] == name], self.now)
        if said:
            self.webhook(said)

    def _clear(self, thing: Thing, n: int) -> None:
        if thing.firing:
            self.reality.stop(thing, self.now, AGES[n] / 10)
            self.webhook(self.reality.say([thing], self.now))

    def _vanish(self, thing: Thing, n: int) -> None:
        """It ends, and nobody says so."""
        self.reality.stop(thing, self.now, AGES[n] / 10)

    def _unheard(self, thing: Thing, n: int) -> None:
        """It fired and ended between two webhooks; that it fired comes afterwards, if at all."""
        if thing.firing:
            return
        self.reality.start(thing, self.now, AGES[n])
        fired = self.reality.say([thing], self.now)
        self.reality.stop(thing, self.now, 0.0)
        self.webhook(self.reality.say([thing], self.now))
        if n % 2:
            self.webhook(fired)

    def _resume(self, thing: Thing, _: int) -> None:
        """Alertmanager had taken it for ended, and it goes on with the start it had."""
        heard = self.oracle.ended_at.get(thing.fingerprint)
        if not thing.firing and heard is not None and 61.0 < self.now - heard < 86_400.0:
            self.reality.resume(thing)
            self.webhook(self.reality.say([thing], self.now))

    def _retry(self, _: Thing, n: int) -> None:
        """An old webhook comes again."""
        said = self.reality.again(n, self.now)
        for one in said:
            if one.alert.firing and not one.true:
                one.thing.claimed = self.now
        if said:
            self.webhook(said)

    def _twin(self, _: Thing, n: int) -> None:
        """The second Alertmanager sends what the first one did."""
        self.now += 5 * n
        self._retry(_, 0)

    # -------------------------------------------------------------------------------------------------------------- people

    def _vote(self, thing: Thing, n: int, retracted: bool = False) -> None:
        found = [one for one in self.started if one.fingerprint == thing.fingerprint]
        if not found:
            return
        kind = KINDS_OF_VOTES[n % len(KINDS_OF_VOTES)]
        self.batch(Inputs(votes=(self._voted(found[-1], kind, PEOPLE[n % 3], retracted),)))

    def _retract(self, thing: Thing, n: int) -> None:
        self._vote(thing, n, retracted=True)

    def _voted(self, start: EpisodeStarted, kind: str, who: str, retracted: bool = False) -> Voted:
        keys = tuple(keys_of(start.fingerprint, start.labels))
        incident = self.oracle.firings[start.episode].incident
        spelled = start.labels.get("severity", "")
        return Voted(self.now, who, kind, start.episode, incident, keys, spelled, "api", retracted)

    def _season(self, thing: Thing, n: int) -> None:
        """A dozen incidents of its alertname come, clear, and are called noise; one may be called real."""
        self.scoring.calm = True
        many = [Thing({**thing.labels, "instance": f"s{self.now:.0f}-{k}"}, f"{self.now:.0f}-{k}") for k in range(12)]
        for one in many:
            self.reality.start(one, self.now, 0.0)
        self.webhook(self.reality.say(many, self.now))
        mine = self.started[-12:]
        kinds = ["useful" if n == 9 and not k else "false_positive" for k in range(12)]
        self.batch(Inputs(votes=tuple(self._voted(one, kind, "ada") for one, kind in zip(mine, kinds, strict=True))))
        self.now += 60.0
        for one in many:
            self.reality.stop(one, self.now, 0.0)
        self.webhook(self.reality.say(many, self.now))
        self.scoring.calm = False

    # ------------------------------------------------------------------------------------------------------------- outbox

    def _send(self, _: Thing, n: int) -> None:
        """Everything that waits arrives."""
        waiting, self.waiting = self.waiting, []
        self._settled(waiting, "sent")

    def _lose(self, _: Thing, n: int) -> None:
        """A message ends in the dead letters."""
        if self.waiting:
            lost = self.waiting.pop(n % len(self.waiting))
            self.dead.append(lost)
            self._settled([lost], "dead")

    def _replay(self, _: Thing, n: int) -> None:
        """A dead letter is sent again, and arrives."""
        if self.dead:
            self._settled([self.dead.pop(n % len(self.dead))], "sent")

    def _settled(self, deliveries: list[Delivery], outcome: str) -> None:
        outcomes = tuple(found for one in deliveries if (found := self._outcome(one, outcome)) is not None)
        if outcomes:
            self.batch(Inputs(outcomes=outcomes))

    def _outcome(self, one: Delivery, outcome: str) -> Delivered | SilenceSettled | None:
        if one.kind == "silence":
            request = _request(one)
            state, name = ("active", f"ours-{one.dedup_key[-8:]}") if outcome == "sent" else ("failed", "")
            return None if request.end else SilenceSettled(self.now, request.pattern, state, name)
        if one.kind == "update" and outcome == "sent":
            return None
        return Delivered(self.now, one.incident, one.receiver.split("/")[0], one.kind, outcome)

    # ------------------------------------------------------------------------------------------------------------ replicas

    def _sweep(self, _: Thing, n: int) -> None:
        self.batch(Inputs(sweep_before=self.now - FORGET))

    def _forget(self, thing: Thing, n: int) -> None:
        """Two months pass in which most things are quiet, and their keys are forgotten."""
        self.wait(FORGET - 86_400.0)
        self._repeat(thing, n)
        self.wait(2 * 86_400.0)
        self._sweep(thing, n)
        self.now += 61.0  # what was taken for over just now, and is sent within a minute, would count as late
        for one in self.reality.things:
            if n % 2:
                self.reality.stop(one, self.now, 2 * FORGET)  # it had ended, and nobody said so
            elif one.firing:
                self.webhook(self.reality.say([one], self.now))  # it is sent again after all

    def _follow(self, _: Thing, n: int) -> None:
        self.shard.follow()

    def _switch(self, _: Thing, n: int) -> None:
        self.shard.take_over()

    def _restart(self, _: Thing, n: int) -> None:
        self.shard.restart(whole=n % 2 == 0)

    def _snapshot(self, _: Thing, n: int) -> None:
        self.shard.save()


def _request(one: Delivery) -> SilenceRequest:
    import msgspec

    return msgspec.json.decode(one.body, type=SilenceRequest)
