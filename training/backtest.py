"""A history through the real pipeline without a store: the same rules, models and nightly job, on a virtual clock.

Prequential: what serves at any moment was trained on what was known by then, and every vote becomes known only after its
alert has ended. The folded state, the fold and the rules are those that serve; only the log and the outbox are left out.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from models.artifact import Artifact, read
from models.features import unpack
from models.prior import Prior
from models.scorers import LightGBMScorer
from sidecar import pipeline
from sidecar.config import Config
from sidecar.decider import Work
from sidecar.delivery.rehearsal import BACK, objections
from sidecar.events import Decided, EpisodeEnded, EpisodeStarted, Hides, Plan, SilenceProposed, SilenceReplayed, Voted
from sidecar.pipeline import Inputs
from sidecar.replay import Answers, HistoryAlert, Replay, Result
from sidecar.rules import RULES, Rule
from sidecar.rules.base import TELLS, guarded
from sidecar.scoring import Scorers
from sidecar.state import State, Vote, label_of
from training import floors, job
from training.dataset import Row


class Known:
    """What a nightly run reads of the store: the first decision on each episode, and every vote."""

    def __init__(self) -> None:
        self.started: dict[str, EpisodeStarted] = {}
        self.ended: dict[str, float] = {}
        self.decided: dict[str, Decided] = {}
        self.told: set[str] = set()
        self.votes: list[tuple[str, str, str, float, bool]] = []

    def note(self, plan: Plan) -> None:
        """Take in a plan."""
        for event in plan.events:
            if isinstance(event, EpisodeStarted):
                self.started[event.episode] = event
            elif isinstance(event, EpisodeEnded):
                self.ended[event.episode] = event.ends_at
            elif isinstance(event, Decided):
                if event.observation:
                    self.decided.setdefault(event.episode, event)
                if event.verdict in TELLS:
                    self.told.add(event.episode)
            elif isinstance(event, Voted):
                self.votes.append((event.episode, event.who, event.kind, event.at, event.retracted))

    def rows(self, *, every: bool) -> list[Row]:
        """As the store gives them to training: of `every` episode, or of voted ones and what the audit sample drew from."""
        if every:
            return [self._row(made) for made in self.decided.values()]
        voted = {vote[0] for vote in self.votes}
        wanted = (made for episode, made in self.decided.items() if episode in voted or made.propensity < 1.0)
        return [self._row(made) for made in wanted]

    def replayed(self, proposed: SilenceProposed, config: Config, model: str) -> SilenceReplayed:
        """What a proposed silence would have hidden, as the store would say; O(episodes), asked seldom."""
        since, covers = proposed.at - BACK, config.guard.covers
        hit = {
            name: start
            for name, start in self.started.items()
            if start.starts_at >= since
            and all(start.labels.get(label, "") == value for label, value in proposed.matchers)
        }
        said: dict[str, dict[str, Vote]] = {}
        for name, who, kind, at, back in self.votes:
            if name in hit:
                votes = said.setdefault(name, {})
                votes.pop(who, None)
                if not back:
                    votes[who] = Vote(who, kind, at)
        labels = [label for votes in said.values() if (label := label_of(tuple(votes.values()))) is not None]
        noise = sum(label > 0.5 for label in labels)
        hides = Hides(
            since, len(hit), len({self.decided[name].incident for name in hit if name in self.decided}), noise,
            len(labels) - noise, len(hit) - len(labels), len(hit.keys() & self.told),
            len({start.fingerprint for start in hit.values() if covers(start.labels)}), tuple(list(hit)[:10]),
        )  # fmt: skip
        why = "; ".join(objections(hides))
        return SilenceReplayed(proposed.at, proposed.pattern, proposed.evidence, hides, why, model)

    def _row(self, made: Decided) -> Row:
        start = self.started[made.episode]
        return Row(
            made.episode, made.incident, made.at, made.severity, start.labels.get("alertname", ""),
            unpack(made.observation), made.model, made.propensity, made.score, start.starts_at,
            self.ended.get(made.episode), start.labels, made.episode in self.told,
        )  # fmt: skip


class Memory:
    """A decider that keeps nothing but the state: plan, and commit it."""

    def __init__(
        self,
        config: Config,
        clock: Callable[[], float],
        on_plan: Callable[[Plan], None],
        prior: Prior | None = None,
        rules: Sequence[Rule] = RULES,
        known: Known | None = None,
    ) -> None:
        self.state = State()
        self._rules = rules
        self._known = known  # of what `on_plan` is told; it answers proposed silences
        self.scorers = Scorers(prior=prior)
        self._config = config
        self._clock = clock
        self._on_plan = on_plan

    async def commit(self, works: Sequence[Work]) -> int:
        """Decide one batch; returns how many there have been."""
        inputs = Inputs(
            [one for work in works for one in work.received],
            [vote for work in works for vote in work.votes],
            asks=[event for work in works for event in work.asks],
        )
        plan = pipeline.plan(inputs, self.state, self.scorers, self._config, self._clock(), self._rules)
        self.state.commit(self.state.seq + 1)
        self._on_plan(plan)
        proposed = [event for event in plan.events if isinstance(event, SilenceProposed)]
        if proposed and self._known is not None:
            known, config, model = self._known, self._config, self.scorers.version
            await self.commit([Work(asks=tuple(known.replayed(event, config, model) for event in proposed))])
        return self.state.seq


class Night:
    """One nightly run after another, each on what was known by then."""

    def __init__(
        self, memory: Memory, known: Known, config: Config, place: Path, seed: int, prior: Prior | None
    ) -> None:
        self._memory, self._known, self._config, self._place, self._seed = memory, known, config, place, seed
        self._prior = prior
        self.promoted: list[str] = []
        self.serving: LightGBMScorer | None = None  # the last that was promoted
        self.reports: list[dict[str, object]] = []

    async def __call__(self, now: float) -> None:
        config, folder = self._config, self._place / f"night-{int(now)}"
        result = job.run(
            self._known.rows(every=config.training.implicit_evidence), self._known.votes, now=now, folder=folder,
            min_votes=config.training.min_votes,
            champion=self._champion(), seed=self._seed, miss_budget=config.training.miss_budget,
            floor=config.confidence_threshold, holds=config.holding.max, tune=floors.tuning(config),
            hinted=config.training.implicit_evidence,
            guarded=lambda labels, severity: guarded(labels, severity, config), prior=self._prior, trial=False,
        )  # fmt: skip
        self.reports.append(result.report)
        self._memory.scorers.certificate = job.certificate_of(result.report)
        if result.promoted and result.version is not None:
            folder.rename(self._place / result.version)
            self.serving = LightGBMScorer(read(self._place / result.version, None))
            self._memory.scorers.use(self.serving)
            self.promoted.append(result.version)

    def summary(self) -> str:
        """What the nights came to, in a few lines."""
        proven = [made for report in self.reports if (made := job.certificate_of(report)) is not None]
        held = [made.hold.threshold for made in proven if made.hold.threshold is not None]
        suppressed = [made.suppress.threshold for made in proven if made.suppress.threshold is not None]
        lines = [f"  {len(self.reports)} nights, {len(self.promoted)} promoted a model"]
        for name, found in (("hold", held), ("suppress", suppressed)):
            lowest = f", from a score of {min(found):.2f} on at the lowest" if found else ""
            lines.append(f"  {len(found)} of them proved a threshold to {name}{lowest}")
        drifted = [made.drifted for made in proven if made.drifted]
        names, over_all = len(set().union(*drifted)), sum(bool(made.unsettled) for made in proven)
        lines.append(
            f"  {len(drifted)} of them found that alertnames had drifted ({names} in all), {over_all} that everything had"
        )
        return "\n".join(lines)

    def _champion(self) -> Artifact | None:
        return read(self._place / self.promoted[-1], None) if self.promoted else None


def backtest(
    history: list[HistoryAlert],
    config: Config,
    answers: Answers,
    progress: Callable[[int], object] = lambda _: None,
    seed: int = 1,
    prior: Prior | None = None,
    *,
    rules: Sequence[Rule] = RULES,
    watch: Callable[[Replay, Plan], None] = lambda _, __: None,
) -> tuple[list[Result], Night]:
    """Replays it; returns what became of each alert, and the nights. `watch` sees every plan, after the replay took it in.

    A `prior` that learned from this history would judge what it has seen: `models.prior.load` gives one that did not.
    """
    known = Known()
    replay = Replay(history, config, answers)

    def note(plan: Plan) -> None:
        known.note(plan)
        replay.note(plan)
        watch(replay, plan)

    memory = Memory(config, replay.clock, note, prior, rules, known)
    with tempfile.TemporaryDirectory(prefix="sidecar-backtest-") as place:
        night = Night(memory, known, config, Path(place), seed, prior)
        results = asyncio.run(replay.run(memory, night, lambda count: (progress(count), None)[1]))
    return results, night
