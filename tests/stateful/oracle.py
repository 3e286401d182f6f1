"""What must be true, from what was said, what was recorded and what went out; the code's own state is only compared.

The oracle hears every webhook with the truth about it, reads each plan's events and deliveries, and keeps books of its
own. `Broken` names the promise that does not hold. The promises are in the docstring of `test_sequences.py`.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from sidecar.events import (
    Decided,
    Delivered,
    DigestDue,
    EpisodeEnded,
    EpisodeMuted,
    EpisodeSeen,
    EpisodeStarted,
    EpisodeUnmuted,
    Escalated,
    IncidentClosed,
    Plan,
    SilenceAsked,
    SilenceEnded,
    SilenceSettled,
    Swept,
    Voted,
    WindowClosed,
    WindowOpened,
)
from sidecar.state import State
from tests.stateful.books import INTERRUPTS, TELLS, Broken, Firing, Telling
from tests.stateful.configurations import Promise
from tests.stateful.outgoing import Outgoing
from tests.stateful.reality import Said
from tests.stateful.tally import Tally

RETRIED_WITHIN = 60.0  # s after an end was heard: what says that it fires still is late, afterwards it fires again
DIGEST_WITHIN = 86_400.0  # s: there is one every day
SILENCE_WINDOW = 30 * 86_400.0  # s: how far back votes count for a silence


class Oracle(Outgoing):
    """`hear` before a batch, `note` after it committed, `check` what then must be true."""

    def __init__(self, promise: Promise, mode: str, proven: bool, targets: dict[str, Any]) -> None:
        self.promise = promise
        self.mode = mode
        self.proven = proven
        self.targets = targets  # receiver -> ((target, kinds), ...)
        self.fires: dict[str, bool] = {}  # fingerprint -> whether it must be open
        self.ended_at: dict[str, float] = {}  # fingerprint -> when its end was heard
        self.heard: dict[str, int] = {}  # fingerprint -> the newest truth that was heard
        self.now = 0.0
        self.newest: dict[str, Firing] = {}  # fingerprint -> its newest episode
        self.firings: dict[str, Firing] = {}
        self.tellings: dict[str, Telling] = {}
        self.keys: dict[str, tuple[str, str, str]] = {}
        self.tally = Tally()
        self._opened: set[str] = set()  # incidents that a decision of this plan opens
        self._again: set[tuple[str, str]] = set()  # (incident, receiver) that a decision of this plan interrupts anew
        self._escalated: set[tuple[str, str]] = set()  # likewise, by nobody's acknowledging it
        self.windows: dict[str, float] = {}  # deployment windows: name -> end
        self.owed: dict[str, float] = {}  # receiver -> since when something was kept back that no digest told of
        self._must_tell: list[str] = []  # fingerprints that were said again: whoever lost them is told now
        self._due: set[str] = set()  # incidents that have to be reminded of
        self._either: set[str] = set()  # fingerprints of which news came that may be old or not
        self._claimed: set[str] = set()  # fingerprints that only old news says fire
        self._unmoved: set[str] = set()  # fingerprints of which only old news came

    # --------------------------------------------------------------------------------------------------------- what is said

    def hear(self, said: tuple[Said, ...], now: float, watched: bool = False) -> None:
        """A webhook that is about to be decided on, or what the watcher saw."""
        for one in said:
            fingerprint, fires = one.thing.fingerprint, one.alert.firing
            again = not fires and self.heard.get(fingerprint) == one.version  # an end that was heard already
            claimed = not fires and fingerprint in self._claimed
            if (again or claimed) and self.fires.get(
                fingerprint
            ):  # of what old news opened: it may close it as well as not
                self._either.add(fingerprint)
            elif one.true and not again:
                self._hear_true(fingerprint, fires, one.version, now, watched)
            elif fires and not self.fires.get(fingerprint) and self._claims(one, now):
                self.fires[fingerprint] = True
                self._claimed.add(fingerprint)
                self._unmoved.discard(fingerprint)
            else:
                self.fires.setdefault(fingerprint, False)
                self._unmoved.add(fingerprint)

    def _claims(self, one: Said, now: float) -> bool:
        """Whether late news that something fires has to be believed: nothing says that it is late."""
        known = self.newest.get(one.thing.fingerprint)
        unheard = known is not None and one.alert.starts_at > known.starts_at
        return unheard or now - self.ended_at.get(one.thing.fingerprint, 0.0) > RETRIED_WITHIN

    def _hear_true(self, fingerprint: str, fires: bool, version: int, now: float, watched: bool) -> None:
        self._unmoved.discard(fingerprint)
        self._claimed.discard(fingerprint)
        if fires and self.fires.get(fingerprint) and not watched:
            self._must_tell.append(fingerprint)
            if self.heard.get(fingerprint) == version:
                self._expect_reminder(fingerprint, now)
        self.fires[fingerprint], self.heard[fingerprint] = fires, version

    def _expect_reminder(self, fingerprint: str, now: float) -> None:
        known = self.newest.get(fingerprint)
        telling = self.tellings.get(known.incident) if known is not None else None
        if known is None or telling is None or known.verdict not in TELLS or not telling.reached():
            return
        if any(until > now for until in self.windows.values()):
            return  # it may wait for one of them
        reminds = self.promise.reminds(known.labels, known.severity, now, self.mode)
        if reminds and now - max(telling.at[one] for one in telling.reached()) >= self.promise.repeat:
            self._due.add(known.incident)

    # ---------------------------------------------------------------------------------------------------- what was recorded

    def note(self, plan: Plan, now: float) -> None:
        """A batch that committed."""
        self.now = now
        self._opened.clear()
        self._again.clear()
        self._escalated.clear()
        if plan.deliveries and not plan.events:
            raise Broken("deliveries without an event are never written")
        for swept in [event for event in plan.events if isinstance(event, Swept)]:
            self.fires.update(
                (name, False) for name, one in self.newest.items() if one.open and one.seen < swept.before
            )
        before = {name: one.episode for name, one in self.newest.items() if one.open}
        for event in plan.events:
            self._note_event(event)
        self.fires.update((name, self.newest[name].open) for name in self._either)
        self._check_old_news(before)
        fresh = [one for one in plan.deliveries if not self._known(one)]
        said = {(one.incident, one.kind) for one in fresh}
        self._note_deliveries(fresh)
        for incident in self._due:
            if not any((incident, kind) in said for kind in (*INTERRUPTS, "resolve")) and self._shown(incident):
                raise Broken(f"nobody is reminded of {incident}")
        self._due.clear()

    def _note_event(self, event: Any) -> None:
        match event:
            case EpisodeStarted():
                self._start(event)
            case EpisodeSeen():
                self._open(event.episode).seen = event.at
            case EpisodeEnded():
                self._end(event)
            case Decided():
                self._decide(event)
            case Delivered():
                self._deliver(event)
            case IncidentClosed():
                self.tellings[event.incident].touched = float("-inf")
            case EpisodeMuted():
                self._open(event.episode).muted.add(event.silence_id)
            case EpisodeUnmuted():
                self._open(event.episode).muted.discard(event.silence_id)
            case Escalated():
                self._escalate(event)
            case DigestDue():
                for receiver in event.of:
                    self.owed.pop(receiver, None)
            case WindowOpened():
                self.windows[event.name] = event.ends_at
            case WindowClosed():
                self.windows.pop(event.name)
            case Voted() | SilenceAsked() | SilenceSettled() | SilenceEnded():
                self._people(event)
            case Swept():
                self._sweep(event.before)

    def _open(self, episode: str) -> Firing:
        found = self.firings.get(episode)
        if found is None or not found.open:
            raise Broken(f"{episode} is not open")
        return found

    def _start(self, event: EpisodeStarted) -> None:
        known = self.newest.get(event.fingerprint)
        if known is not None and known.open:
            raise Broken(f"{event.episode} starts while {known.episode} is open")
        if event.episode in self.firings:
            raise Broken(f"{event.episode} starts twice")
        started = Firing(event.episode, event.labels, event.starts_at, seen=event.at)
        self.newest[event.fingerprint] = self.firings[event.episode] = started

    def _end(self, event: EpisodeEnded) -> None:
        ended = self._open(event.episode)
        ended.open, ended.seen = False, event.at
        self.ended_at[event.fingerprint] = event.at
        if ended.incident in self.tellings:
            self.tellings[ended.incident].touched = event.at

    def _sweep(self, before: float) -> None:
        for fingerprint in [name for name, one in self.newest.items() if one.seen < before]:
            if self.newest.pop(fingerprint).open:
                raise Broken(f"{fingerprint} is forgotten while it is open")
            self.fires.pop(fingerprint, None)

    def _escalate(self, event: Escalated) -> None:
        if (event.tell or event.again) and not self._shown(event.incident):
            raise Broken(f"{event.incident} escalates, and nothing fires in it")
        self._escalated.update((event.incident, receiver) for receiver in (*event.tell, *event.again))

    def _people(self, event: Any) -> None:
        if isinstance(event, SilenceAsked):
            self._check_silence(event)
        self.tally.note(event)

    # ------------------------------------------------------------------------------------------------------------- verdicts

    def _decide(self, event: Decided) -> None:
        firing = self.firings.get(event.episode)
        if firing is None:
            raise Broken(f"{event.episode} is decided and never started")
        joins = event.incident != firing.incident
        self._check_verdict(event, firing)
        telling = self.tellings.setdefault(event.incident, Telling())
        if event.verdict == "notify":
            self._opened.add(event.incident)
        elif event.verdict == "fold" and joins:
            self._check_fold(event, telling)
        if event.verdict != "hold":
            firing.held_since = 0.0
        elif not firing.held_since:
            firing.held_since = event.at
        self._again.update((event.incident, receiver) for receiver in event.again)
        telling.settle = event.settle or telling.settle
        telling.touched = event.at
        if joins and firing.incident in self.tellings:
            self.tellings[firing.incident].touched = event.at
        firing.verdict, firing.incident, firing.until = event.verdict.value, event.incident, event.until or 0.0
        firing.receivers = event.receivers
        firing.rule = event.reasons[-1].rule if event.reasons else ""

    def _check_fold(self, event: Decided, telling: Telling) -> None:
        people = event.reasons[-1].rule == "regrouping"
        if event.incident in self._opened or event.tell or event.again or event.came_from or people:
            return
        if telling.first is None:
            raise Broken(f"{event.episode} is folded into {event.incident}, of which nobody was told")
        lately = max(telling.at.values()) if telling.settle else telling.first
        if event.at - lately > self.promise.folds_for:
            raise Broken(f"{event.episode} is folded into {event.incident}, told {event.at - telling.first:.0f} s ago")

    def _check_verdict(self, event: Decided, firing: Firing) -> None:
        verdict, rule = event.verdict.value, event.reasons[-1].rule if event.reasons else ""
        if verdict in TELLS:
            return
        if verdict == "suppress" and rule == "silenced" and any(not one.startswith("ours") for one in firing.muted):
            return  # a person's silence is theirs
        if verdict != "hold":
            for receiver in event.receivers or ("",):
                self.owed.setdefault(receiver, event.at)
        if self.promise.guards(firing.labels, firing.severity):
            raise Broken(f"{firing.severity} {event.episode} is kept back: {verdict} by {rule}")
        allowed = {"hold": self._may_hold, "suppress": self._may_suppress, "digest": self._may_digest}[verdict]
        if not allowed(event, firing, rule):
            raise Broken(f"{event.episode}: {verdict} by {rule} with score {event.score}, until {event.until}")

    def _may_hold(self, event: Decided, firing: Firing, rule: str) -> bool:
        if event.until is None or event.until <= event.at:
            return False
        if rule == "routing":  # the operator's word, in every mode
            return event.until == self.promise.delivers_from(firing.severity, event.at)
        if self.mode == "shadow":
            return False
        if rule == "maintenance_windows":
            return event.until == self.promise.rest_ends(firing.severity, event.at)
        if rule == "window":
            return event.until in self.windows.values()
        within = event.until <= (firing.held_since or event.at) + self.promise.hold.get(firing.severity, 0.0)
        return rule == "suppression_by_score" and within and self._earned(event, 3, 0.0)

    def _may_suppress(self, event: Decided, firing: Firing, rule: str) -> bool:
        if rule == "silenced":
            return bool(firing.muted)
        if self.mode == "shadow":
            return False
        if rule == "repeated_false_positive":
            return self.tally.asked(firing.labels, event.at)
        return rule == "suppression_by_score" and self._earned(event, 11, 0.85)

    def _may_digest(self, event: Decided, firing: Firing, rule: str) -> bool:
        return not firing.open and rule in ("intake", "hold")

    def _earned(self, event: Decided, incidents: int, least: float) -> bool:
        """An unknown keeps nothing back; in mode auto a score does, in mode ladder only with proof and votes."""
        if event.score is None or not isfinite(event.score) or event.score < least:
            return False
        if self.mode == "auto":
            return True
        return self.proven and event.score >= 0.85 and self.tally.noise(self.firings[event.episode].labels) >= incidents

    def _check_silence(self, event: SilenceAsked) -> None:
        noise, real = self.tally.judged(event.pattern, event.at - SILENCE_WINDOW)
        real = 0 if self.tally.ended(event.pattern) else real  # votes before the end of the last silence are spent
        if self.mode == "shadow" or event.pattern.severity == "CRITICAL" or real or noise < self.promise.silence_after:
            raise Broken(f"a silence of {event.pattern} after {noise} noise, {real} real in mode {self.mode}")
        if self.tally.standing(event.at) >= self.promise.silences:
            raise Broken(f"more than {self.promise.silences} silences")

    # ----------------------------------------------------------------------------------------------------- what must be true

    def inside(self, incident: str) -> list[Firing]:
        return [one for one in self.newest.values() if one.open and one.incident == incident]

    def was_told(self, incident: str) -> bool:
        """Whether somebody has a message of it."""
        return incident in self.tellings and self.tellings[incident].first is not None

    def _not_closed(self, telling: Telling) -> bool:
        return bool(telling.settle) and telling.touched > float("-inf")

    def _settles(self, telling: Telling) -> bool:
        """Whether people are not told yet that it is over: it gathers, and has not been quiet for long enough."""
        return bool(telling.settle) and self.now < telling.touched + telling.settle

    def _shown(self, incident: str) -> bool:
        return any(one.verdict in TELLS for one in self.inside(incident))

    def _check_old_news(self, before: dict[str, str]) -> None:
        for fingerprint in self._unmoved - self._either:
            known = self.newest.get(fingerprint)
            if known is not None and known.open != (fingerprint in before):
                raise Broken(f"old news opened or ended {known.episode}")
            if known is not None and known.open and before[fingerprint] != known.episode:
                raise Broken(f"old news began {known.episode}")
        self._unmoved.clear()
        self._either.clear()

    def check(self, state: State) -> None:
        """What must be true after every batch."""
        for fingerprint, fires in self.fires.items():
            known = self.newest.get(fingerprint)
            if fires != (known is not None and known.open):
                raise Broken(f"{fingerprint} {'fires' if fires else 'has ended'}, and is taken for the other")
        for fingerprint, firing in self.newest.items():
            if firing.open:
                self._check_told(firing)
            kept = state.episodes.get(fingerprint)
            if kept is None or (kept.ended_at is None) != firing.open or kept.incident != firing.incident:
                raise Broken(f"the state has {kept} for {firing}")
        for fingerprint in self._must_tell:
            firing = self.newest[fingerprint]
            if firing.open and firing.verdict in TELLS and not self.tellings[firing.incident].reached():
                raise Broken(f"{firing.episode} was said again, its message is lost, and nobody is told")
            if firing.open and firing.rule == "silenced" and firing.verdict == "suppress":
                raise Broken(f"Alertmanager sends {firing.episode}, and it is taken for silenced")
        self._must_tell.clear()
        self._check_counts(state)
        if any(self.now - since > DIGEST_WITHIN for since in self.owed.values()):
            raise Broken(f"what was kept back is in no digest: {self.owed}")
        for name, telling in self.tellings.items():
            self._check_live(name, telling, state)

    def _check_told(self, firing: Firing) -> None:
        """The bound: what fires is told, or waits for a moment that is still to come, or may be kept back."""
        if not firing.verdict:
            raise Broken(f"{firing.episode} fires and is not decided")
        if firing.verdict == "hold" and firing.until <= self.now:
            raise Broken(f"{firing.episode} waited until {firing.until}, and now is {self.now}")
        if firing.verdict in TELLS:
            told = self.tellings[firing.incident].at
            missing = [one for one in firing.receivers if one not in told]
            if missing or not told:
                raise Broken(
                    f"{firing.episode} ({firing.verdict}) belongs to {firing.receivers}, told are {list(told)}"
                )

    def _check_counts(self, state: State) -> None:
        open_in: dict[str, int] = {}
        for one in self.newest.values():
            if one.open:
                open_in[one.incident] = open_in.get(one.incident, 0) + 1
        counted = {name: incident.firing for name, incident in state.incidents.items() if incident.firing}
        if counted != open_in:
            raise Broken(f"the incidents count {counted}, open are {open_in}")

    def _check_live(self, name: str, telling: Telling, state: State) -> None:
        inside = self.inside(name)
        waits = self._settles(telling)
        for receiver in telling.reached():
            for target, kinds in self.targets[receiver]:
                live = telling.live.get(target, False)
                if not inside and not waits and live and "resolve" in kinds:
                    raise Broken(f"{target} still shows {name}, in which nothing fires")
                if not live and any(one.verdict in TELLS for one in inside):
                    raise Broken(f"{target} was told that {name} is over, and it fires")
