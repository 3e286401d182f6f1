"""Writes the past into the log: what would have been recorded, had the sidecar been there, and nobody told.

The same fold, features and pipeline as serving, moment by moment on the history's own clock, with one rule in place of
all others: everything is left to the digest. Scores are the cold-start heuristic's, since no model existed then.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from models.records import DAY, QUICK
from sidecar import pipeline
from sidecar.arrival import FORGET_SECONDS
from sidecar.config import Config
from sidecar.decider import RACES
from sidecar.domain import Decision, FeedbackKind, Received, Verdict, episode_id
from sidecar.errors import Conflict, SidecarError, StoreError
from sidecar.events import Decided, EpisodeEnded, EpisodeSeen, EpisodeStarted, Event, Swept, Voted
from sidecar.history import Change
from sidecar.pipeline import Inputs
from sidecar.rules.base import Batch, Facts, changed, fold_keys, refined
from sidecar.scoring import Scorers
from sidecar.state import VERSION, State, keys_of
from sidecar.state.digests import PAST
from sidecar.store import log, projections
from sidecar.store.engine import Database

RULE: Final = PAST  # names these decisions: `sidecar backfill` goes on after them
WHY: Final = "history, recorded after it was over: nobody was told"
ROW_CHANGES: Final = 600  # beginnings and ends in one log row
PROJECTED_ROWS: Final = 8  # at once: a running sidecar has to wait for as long


class Recorded(Struct):
    """What was added."""

    episodes: int = 0
    names: Counter[str] = msgspec.field(default_factory=Counter)
    incidents: int = 0
    noise: int = 0
    real: int = 0
    ended: int = 0
    quick: int = 0  # cleared within five minutes
    first: float | None = None
    last: float | None = None


class Historian:
    """Give it changes in the order of time by `take`, then `finish`. Without a database nothing is written.

    `seen` is when the newest thing that the store knows happened: what is not after it was recorded before, and only
    remembered here. `voter` is who gives the votes of the history.
    """

    def __init__(
        self,
        database: Database | None,
        state: State,
        seen: float | None,
        config: Config,
        voter: str,
        shard: int = 0,
    ) -> None:
        self.state = state
        self.seen = seen
        self.recorded = Recorded()
        self._database = database
        self._config = config
        self._voter = voter
        self._shard = shard
        self._scorers = Scorers()
        self._waiting: list[Change] = []
        self._opened: dict[str, tuple[str, float]] = {}  # fold key -> the incident under it, and since when
        self._day = seen // DAY if seen is not None else None  # on which keys were last looked through
        self._wrote = False

    async def take(self, change: Change) -> None:
        """One more change, not before the one that was given last."""
        if self.seen is not None and change.at <= self.seen:
            if change.begins:
                self._remember(change)
            return
        if len(self._waiting) >= ROW_CHANGES and change.at > self._waiting[-1].at:
            await self._write()  # never within a moment: what is in the store up to a time is there whole
        self._waiting.append(change)

    async def finish(self) -> None:
        """Write the rest, bring the tables up to date, and keep the state, so that the next start is a short one."""
        if self._waiting:
            await self._write()
        if self._database is None:
            return
        await project(self._database, self._shard)
        if self._wrote:
            body = self.state.dump()
            await log.save_snapshot(self._database, self._shard, self.state.seq, VERSION, time.time(), body)

    # ------------------------------------------------------------------------------------------------------------ writing

    async def _write(self) -> None:
        """One log row, in the shard's turn like every writer's."""
        opened, day = dict(self._opened), self._day
        for _ in range(RACES):
            try:
                events = self._events()
                seq = await self._append(events)
            except Conflict:
                self.state.rollback()
                self._opened, self._day = dict(opened), day
                await self._catch_up()
            except BaseException:
                self.state.rollback()
                raise
            else:
                self.state.commit(seq)
                self._count(events)
                self._waiting.clear()
                self._wrote = True
                if self._database is not None:
                    await project(self._database, self._shard)
                return
        raise StoreError(f"lost the race for shard {self._shard} {RACES} times")

    async def _append(self, events: Sequence[Event]) -> int:
        if not events or self._database is None:
            return self.state.seq
        async with log.locked(self._database, self._shard) as connection:
            if await log.head(connection, self._shard) != self.state.seq:
                raise Conflict(f"shard {self._shard} has moved past {self.state.seq}")
            return await log.append(connection, self._shard, self.state.seq, self._waiting[-1].at, events, ())

    async def _catch_up(self) -> None:
        """Fold what a running sidecar appended. Raises SidecarError when that ends the history: alerts of its own."""
        if self._database is None:
            return
        async with self._database.read() as connection:
            rows = await log.tail(connection, self._shard, self.state.seq)
        for seq, events in rows:
            if not all(isinstance(event, Swept) for event in events):
                raise SidecarError(
                    f"the sidecar has recorded something newer meanwhile, and history cannot be added behind it: "
                    f"{self.recorded.episodes} episodes are in, the rest is not. Let Alertmanager send to it afterwards"
                )
            for event in events:
                self.state.fold(event)
            self.state.commit(seq)

    # ----------------------------------------------------------------------------------------------------------- deciding

    def _events(self) -> list[Event]:
        """What the changes that wait lead to, moment by moment."""
        events: list[Event] = []
        moment: list[Change] = []
        for change in self._waiting:
            if moment and change.at != moment[0].at:
                events += self._decide(moment)
                moment = []
            moment.append(change)
        return [*events, *self._decide(moment)]

    def _decide(self, moment: Sequence[Change]) -> list[Event]:
        """One moment through the pipeline. What ends comes first, as what clears does in a webhook."""
        at = moment[0].at
        alive = self._keep_alive(at)
        new = [change for change in moment if not self._is_there(change)]
        received = tuple([Received(change.alert, at=at) for change in new if change.truth is None])
        votes = tuple([self._vote(change) for change in new if change.truth is not None])
        inputs = Inputs(received, votes)
        plan = pipeline.plan(inputs, self.state, self._scorers, self._config, at, rules=(self._history,), duties=())
        if plan.deliveries or any(one.verdict is not Verdict.DIGEST for one in plan.decisions):
            raise SidecarError(
                f"people would be told of what happened {at}: that is a defect, and nothing was recorded"
            )
        return [*alive, *plan.events]

    def _is_there(self, change: Change) -> bool:
        """Whether an earlier run cut this firing at its own horizon: then it has an end, and a vote, already."""
        episode = episode_id(change.alert.fingerprint, change.alert.starts_at)
        if change.truth is not None:
            return any(vote.who == self._voter for vote in self.state.votes.get(episode) or ())
        known = self.state.episodes.get(change.alert.fingerprint)
        return not change.begins and known is not None and known.episode == episode and known.ended_at is not None

    def _keep_alive(self, at: float) -> list[Event]:
        """Once a day idle keys are forgotten, as a serving sidecar does; what fires for months is sent again, not idle."""
        day, before = at // DAY, self._day
        self._day = day
        if before is None or day <= before:
            return []
        fire = [one for one in self.state.episodes.values() if one.ended_at is None]
        alive: list[Event] = [EpisodeSeen(at, one.episode, one.keys.fingerprint, one.starts_at) for one in fire]
        alive.append(Swept(at, at - FORGET_SECONDS))
        for event in alive:
            self.state.fold(event)
        return alive

    def _history(self, batch: Batch, facts: Facts) -> Batch:
        """The one rule: an incident of its instance's, and the digest."""
        return changed(batch, [self._digest(decision, facts.now) for decision in batch.decisions])

    def _digest(self, decision: Decision, now: float) -> Decision:
        incident = self._incident(decision.scored.keys[:-1], decision.incident, now)
        return refined(decision, Verdict.DIGEST, RULE, WHY, incident=incident)

    def _incident(self, keys: Sequence[str], own: str, at: float) -> str:
        """As people would have had it: what fires on one instance is one incident, for as long as folding lasts.

        A flapping alert is one piece of evidence, not a hundred: the ladder counts incidents.
        """
        for key in keys:
            incident, since = self._opened.get(key, ("", 0.0))
            if incident and at - since <= self._config.folding.for_:
                return incident
        for key in keys:
            self._opened[key] = (own, at)
        return own

    def _remember(self, change: Change) -> None:
        """Of what was recorded before: which incident it opened."""
        alert = change.alert
        keys = fold_keys(Received(alert), self._config)
        self._incident(keys, f"i-{episode_id(alert.fingerprint, alert.starts_at)}", change.at)

    def _vote(self, change: Change) -> Voted:
        alert = change.alert
        episode = episode_id(alert.fingerprint, alert.starts_at)
        known = self.state.episodes.get(alert.fingerprint)
        incident = known.incident if known is not None and known.episode == episode else f"i-{episode}"
        kind = FeedbackKind.FALSE_POSITIVE if change.truth == "fp" else FeedbackKind.USEFUL
        keys = tuple(keys_of(alert.fingerprint, alert.labels))
        spelled = alert.labels.get("severity", "")
        return Voted(change.at, self._voter, kind.value, episode, incident, keys, spelled, "history")

    # ----------------------------------------------------------------------------------------------------------- counting

    def _count(self, events: Iterable[Event]) -> None:
        done = self.recorded
        for event in events:
            if isinstance(event, EpisodeStarted):
                done.episodes += 1
                done.names[event.labels.get("alertname", "")] += 1
                done.first, done.last = event.at if done.first is None else done.first, event.at
            elif isinstance(event, EpisodeEnded):
                done.ended, done.last = done.ended + 1, event.at
                done.quick += event.ends_at - int(event.episode.rpartition("-")[2]) / 1000 <= QUICK
            elif isinstance(event, Decided):
                done.incidents += event.incident == f"i-{event.episode}"
            elif isinstance(event, Voted):
                done.noise += event.kind == FeedbackKind.FALSE_POSITIVE
                done.real += event.kind == FeedbackKind.USEFUL


async def project(database: Database, shard: int) -> None:
    """Bring the tables up to date; a running sidecar may do the same at the same time."""
    while await projections.project(database, shard, PROJECTED_ROWS):
        pass
