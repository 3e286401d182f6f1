"""A stored alert history through the real pipeline, on a virtual clock: the same rules, store, votes and training.

Alertmanager's part is played by `Groups`: it groups, waits and repeats as the configuration's `grouping` says, so that
alerts arrive as they would have. What people would have said becomes known an hour after an alert has ended (twelve
hours after its start at the latest), and only on what they were told. Nightly training runs at virtual midnight on what
was known then.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct, field

from sidecar.config import Config
from sidecar.decider import Work
from sidecar.domain import Alert, FeedbackKind, Received, Verdict, episode_id
from sidecar.events import Decided, EpisodeStarted, Plan, Voted
from sidecar.history import HistoryAlert, read_history
from sidecar.intake.webhook import fingerprint_of
from sidecar.state import State, keys_of

DAY: Final = 86400.0
VOTED_AFTER: Final = 3600.0  # s from the end of an alert until people have said what it was
KNOWN_WITHIN: Final = 12 * 3600.0  # s from its start until they say it of one that goes on firing
STOCK_GROUPS: Final = ("alertname", "namespace", "service", "severity")


# ---------------------------------------------------------------------------------------------------- Alertmanager's part


class _Group(Struct):
    key: str
    wait: float
    interval: float
    repeat: float
    firing: dict[int, None] = field(default_factory=dict)
    cleared: dict[int, float] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    flushed: float | None = None
    notified: float | None = None


class Flush(Struct, frozen=True):
    """One webhook: when, of which group, and the numbers of the alerts in it."""

    at: float
    group: str
    firing: tuple[int, ...]
    cleared: tuple[int, ...]


class Groups:
    """What Alertmanager does between an alert and the webhook: group_wait, group_interval, repeat_interval."""

    def __init__(self, history: list[HistoryAlert], config: Config) -> None:
        self._history = history
        self._config = config
        self._groups: dict[str, _Group] = {}

    def flushes(self) -> Iterator[Flush]:
        """Every webhook of the history, in the order of time."""
        queue: list[tuple[float, int, int, str]] = []  # time; 0 end, 1 start, 2 flush; alert; group
        for n, alert in enumerate(self._history):
            heapq.heappush(queue, (alert.starts_at, 1, n, ""))
        while queue:
            at, what, n, key = heapq.heappop(queue)
            if what == 1:
                heapq.heappush(queue, (self._history[n].ends_at, 0, n, ""))
                self._start(at, n, queue)
            elif what == 0:
                self._end(at, n)
            else:
                flush = self._flush(at, key, queue)
                if flush is not None:
                    yield flush

    def _group_of(self, n: int) -> _Group:
        labels = self._history[n].labels
        key = "/".join(labels.get(name, "") for name in STOCK_GROUPS)
        if key not in self._groups:
            policy = self._config.group_for(self._config.domain_of(labels))
            self._groups[key] = _Group(key, policy.group_wait, policy.group_interval, policy.repeat_interval)
        return self._groups[key]

    def _start(self, at: float, n: int, queue: list[tuple[float, int, int, str]]) -> None:
        group = self._group_of(n)
        fresh = not group.firing and not group.cleared and group.flushed is None
        group.firing[n] = None
        if fresh:
            heapq.heappush(queue, (at + group.wait, 2, -1, group.key))
            group.flushed = at

    def _end(self, at: float, n: int) -> None:
        group = self._group_of(n)
        if n in group.firing:
            del group.firing[n]
            group.cleared[n] = at

    def _flush(self, at: float, key: str, queue: list[tuple[float, int, int, str]]) -> Flush | None:
        group = self._groups[key]
        firing, cleared = tuple(group.firing), tuple(group.cleared)
        new = any(n not in group.told for n in firing) or any(n in group.told for n in cleared)
        again = bool(firing) and group.notified is not None and at - group.notified >= group.repeat
        first_told = group.notified is not None or bool(firing)
        group.told = set(firing)
        group.cleared.clear()
        group.flushed = at
        if firing:
            heapq.heappush(queue, (at + group.interval, 2, -1, key))
        else:
            self._groups.pop(key)  # an empty group is forgotten: its next alert waits group_wait again
        if not (new or again) or not first_told:
            return None
        group.notified = at
        return Flush(at, key, firing, cleared)


# -------------------------------------------------------------------------------------------------------------- the replay


class Result(Struct):
    """What became of one alert of the history."""

    n: int
    score: float | None = None
    verdict: str = "digest"  # Alertmanager never sent it, until told otherwise
    delivered_at: float | None = None
    notification: str | None = None


class Answers(Struct, frozen=True):
    """What people say of the labelled alerts of a history, and when."""

    told_only: bool = True  # only of what they were told, and of the audit sample; else of everything
    delay: float = VOTED_AFTER  # s from an alert's end, or KNOWN_WITHIN from its start, until it is said
    share: float = 1.0  # of the alerts that are answered at all
    flipped: float = 0.0  # of the answers that are wrong
    seed: int = 1

    def draw(self, n: int, what: str) -> float:
        """0 to 1, the same for an alert and a question."""
        digest = hashlib.blake2b(f"{self.seed}/{what}/{n}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


class Commits(Protocol):
    """What a replay drives: a Decider, or one without a store."""

    state: State

    async def commit(self, works: Sequence[Work]) -> int: ...


class Replay:
    """Drives a decider over a history. `now` is the virtual clock that the decider must be wired to."""

    def __init__(self, history: list[HistoryAlert], config: Config, answers: Answers = Answers()) -> None:  # noqa: B008
        self.history = history
        self.results = [Result(n) for n in range(len(history))]
        self.now = history[0].starts_at if history else 0.0
        self._config = config
        self._answers = answers
        self._fingerprints = [fingerprint_of(alert.labels) for alert in history]
        self._by_episode: dict[str, int] = {}
        self._start_of: dict[tuple[str, float], int] = {
            (self._fingerprints[n], alert.starts_at): n for n, alert in enumerate(history)
        }
        self._messages: dict[str, int] = {}  # incident -> interruptions so far
        self._incidents: dict[str, str] = {}  # episode -> incident
        self._votes: list[tuple[float, int]] = []  # due, alert
        self._voted: set[int] = set()
        if not answers.told_only:
            for n, alert in enumerate(history):
                self._ask(n, alert.starts_at)

    def clock(self) -> float:
        return self.now

    def place(self, episode: str) -> int | None:
        """Which alert of the history an episode is; None for one that is none of them."""
        return self._by_episode.get(episode)

    async def run(
        self,
        decider: Commits,
        nightly: Callable[[float], Any],
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Result]:
        """Replay everything; `nightly(now)` is awaited at each virtual midnight, `progress` told of alerts passed."""
        midnight = (self.now // DAY + 1) * DAY
        done = 0
        for at, flushes in groupby(Groups(self.history, self._config).flushes(), key=lambda flush: flush.at):
            while midnight <= at:
                await self._until(midnight, decider)
                await nightly(midnight)
                midnight += DAY
            await self._until(at, decider)
            together = list(flushes)  # webhooks of one moment share a transaction, as they would under load
            await decider.commit([Work(received=self._webhook(flush)) for flush in together])
            passed = max(n for flush in together for n in (*flush.firing, *flush.cleared))
            if passed > done:
                progress(passed - done)
                done = passed
        await self._until(self.now + DAY, decider)
        progress(len(self.history) - done)
        return self.results

    async def _until(self, at: float, decider: Commits) -> None:
        """Let virtual time pass: held alerts are released and votes given when they are due."""
        stuck: float | None = None  # what was due and stayed so: it waits for the next webhook, as it would in service
        while True:
            hold = decider.state.next_due()
            if hold == stuck:
                hold = None
            vote = self._votes[0][0] if self._votes else None
            due = min((t for t in (hold, vote) if t is not None), default=None)
            if due is None or due > at:
                break
            self.now = max(self.now, due)
            votes = self._due_votes()
            await decider.commit([Work(votes=votes)])
            stuck = hold if not votes else None
        self.now = max(self.now, at)

    def _webhook(self, flush: Flush) -> tuple[Received, ...]:
        ended = [self._received(n, flush, self.history[n].ends_at) for n in flush.cleared]
        return (*ended, *(self._received(n, flush, None) for n in flush.firing))

    def _received(self, n: int, flush: Flush, ends_at: float | None) -> Received:
        alert = self.history[n]
        sent = Alert(self._fingerprints[n], alert.labels, alert.annotations, alert.starts_at, ends_at)
        return Received(sent, flush.group, "", flush.at)

    # ------------------------------------------------------------------------------------------------------- what happened

    def note(self, plan: Plan) -> None:
        """Take in a committed plan: wire it as the decider's `on_plan`."""
        for event in plan.events:
            if isinstance(event, EpisodeStarted):
                n = self._start_of.get((event.fingerprint, event.starts_at))
                if n is not None:
                    self._by_episode[event.episode] = n
            elif isinstance(event, Decided):
                self._note(event)

    def _note(self, event: Decided) -> None:
        n = self._by_episode.get(event.episode)
        if n is None:
            return
        result = self.results[n]
        self._incidents[event.episode] = event.incident
        if event.tell or event.again:
            self._messages[event.incident] = self._messages.get(event.incident, 0) + 1
        if result.score is None or (event.score is not None and result.verdict == Verdict.HOLD):
            result.score = event.score  # of the decision that counts: what was held is decided again
        result.verdict = event.verdict.value
        told = event.verdict in (Verdict.NOTIFY, Verdict.FOLD) and event.incident in self._messages
        if told and result.delivered_at is None:
            result.delivered_at = event.at
            result.notification = f"{event.incident}#{self._messages[event.incident]}"
        if told and self._answers.told_only:
            self._ask(n, event.at)

    def _ask(self, n: int, at: float) -> None:
        """Somebody will say what this alert was, unless it has no label or nobody answers."""
        alert, answers = self.history[n], self._answers
        if alert.truth is None or n in self._voted or answers.draw(n, "answered") >= answers.share:
            return
        self._voted.add(n)
        usual = min(alert.ends_at, alert.starts_at + KNOWN_WITHIN) + answers.delay
        due = usual if alert.answered_at is None else alert.answered_at
        heapq.heappush(self._votes, (max(due, at), n))

    def _due_votes(self) -> tuple[Voted, ...]:
        votes = []
        while self._votes and self._votes[0][0] <= self.now:
            _, n = heapq.heappop(self._votes)
            votes.append(self._vote(n))
        return tuple(votes)

    def _vote(self, n: int) -> Voted:
        alert = self.history[n]
        episode = episode_id(self._fingerprints[n], alert.starts_at)
        noise = (alert.truth == "fp") != (self._answers.draw(n, "flipped") < self._answers.flipped)
        kind = FeedbackKind.FALSE_POSITIVE if noise else FeedbackKind.USEFUL
        keys = tuple(keys_of(self._fingerprints[n], alert.labels))
        incident = self._incidents.get(episode, f"i-{episode}")
        return Voted(
            self.now, "on-call", kind.value, episode, incident, keys, alert.labels.get("severity", ""), "history"
        )


def written(results: list[Result]) -> Iterator[bytes]:
    """Results as JSON lines, times as RFC 3339."""
    from datetime import UTC, datetime  # noqa: PLC0415 - only here

    for result in results:
        at = result.delivered_at
        stamp = None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
        yield msgspec.json.encode({**msgspec.structs.asdict(result), "delivered_at": stamp}) + b"\n"


__all__ = ["Answers", "Groups", "HistoryAlert", "Replay", "Result", "read_history", "written"]
