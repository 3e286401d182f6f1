"""The steps of a story: what the world around a sidecar does, in the words of `STEPS`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from sidecar.domain import FeedbackKind, Mute, Pattern, Received
from sidecar.events import (
    Delivered,
    EpisodeEnded,
    Event,
    Regrouped,
    SilenceChanged,
    SilenceEnded,
    SilenceSettled,
    Voted,
    WindowClosed,
    WindowOpened,
)
from sidecar.pipeline import Inputs
from sidecar.state import Episode, State, keys_of
from sidecar.state.regroup import kind_of_keys
from tests.stories.stage import Noted, Stage
from tests.stories.words import Named, Unreadable, alerts, clock

KINDS: Final = {"noise": "false_positive", "real": "useful"}


def play(stage: Stage, line: str) -> tuple[list[Noted], list[Noted]]:
    """One step; returns what the clock brought by itself before it, and what followed from it, each in order."""
    stage.noted = []
    until, what = clock(line, stage.now, stage.zone)
    stage.pass_time(until)
    before, stage.noted = stage.noted, []
    _do(stage, what)
    return before, stage.noted


def _do(stage: Stage, what: str) -> None:
    for pattern, act in STEPS:
        found = re.fullmatch(pattern, what)
        if found is not None:
            act(stage, **found.groupdict())
            return
    raise Unreadable(f"{what!r} is no step: tests/stories/steps.py has the list")


def is_course(step: str) -> bool:
    """Whether a step is many: what follows is then counted, not told one by one."""
    return " times every " in step or ", voted " in step


# ------------------------------------------------------------------------------------------------------------- what comes


def _arrive(stage: Stage, text: str) -> None:
    """A webhook, or several in one batch."""
    stage.batch(Inputs(tuple(map(stage.received, alerts(text, "fires")))))


def _wait(stage: Stage) -> None:
    stage.batch(Inputs())


def _restart(stage: Stage) -> None:
    """The process ends; another one starts from a snapshot."""
    stage.state = State.load(stage.state.dump())


def _deliver(stage: Stage, receiver: str, about: str, outcome: str) -> None:
    """What became of a message."""
    done = {"is lost for good": "dead", "arrives": "sent"}[outcome]
    (known,) = _episodes(stage, about)
    stage.batch(Inputs(outcomes=(Delivered(stage.now, known.incident, receiver, "notify", done),)))


def _rescore(stage: Stage, score: str, about: str) -> None:
    """The model changes its mind; nothing happens yet."""
    for named in alerts(about, "is scored"):
        stage.scores[stage.find(named).fingerprint] = float(score)


def _repeat(stage: Stage, times: str, every: str, what: str) -> None:
    """The same course of things, again and again, `{n}` counted; each part may begin with a clock."""
    for n in range(1, int(times) + 1):
        begun = stage.now
        for part in what.replace("{n}", str(n)).split(", then "):
            moment, rest = clock(part, stage.now, stage.zone) if part.startswith("+") else (stage.now, part)
            stage.pass_time(moment)
            _do(stage, rest)
        if n < int(times):
            stage.pass_time(clock(f"+{every}", begun, stage.zone)[0])


def _judge(stage: Stage, count: str, name: str, said: str, severity: str | None, service: str | None) -> None:
    """Incidents one after the other, each of an instance, and unless it is named of a service of its own."""
    stage.judged += 1
    where = f"severity={(severity or 'warning').lower()} service={service or 's{n}'} instance=i{stage.judged}-{{n}}"
    course = (
        f"fires {name} {where}, then +4m resolves {name} {where}, then +1m ada says {KINDS[said]} of {name} {where}"
    )
    _repeat(stage, count, "2h", course)


# ----------------------------------------------------------------------------------------------------------------- people


def _vote(stage: Stage, who: str, kind: str, about: str, back: str | None = None) -> None:
    """A person says something of one alert, or of several, or takes it back."""
    FeedbackKind(kind)
    votes = []
    for named in alerts(about, "is voted on"):
        alert = stage.find(named)
        known = stage.state.episodes[alert.fingerprint]
        keys, spelled = tuple(keys_of(alert.fingerprint, alert.labels)), alert.labels.get("severity", "")
        said = Voted(stage.now, who, kind, known.episode, known.incident, keys, spelled, "api", back is not None)
        votes.append(said)
    stage.batch(Inputs(votes=tuple(votes)))


def _take_out(stage: Stage, who: str, about: str) -> None:
    """POST /api/v2/incidents/{incident}/take-out."""
    taken = _episodes(stage, about)
    stay = [one for one in _members(stage, taken[0].incident) if one not in taken]
    into = f"i-{taken[0].episode}-{int(stage.now * 1000)}"
    _regroup(stage, who, taken[0].incident, into, taken, stay)


def _merge(stage: Stage, who: str, about: str, other: str) -> None:
    """POST /api/v2/incidents/{incident}/merge."""
    (one,), (target,) = _episodes(stage, about), _episodes(stage, other)
    gone, there = _members(stage, one.incident), _members(stage, target.incident)
    _regroup(stage, who, one.incident, target.incident, gone, there)


def _regroup(
    stage: Stage, who: str, incident: str, into: str, rows: Iterable[Episode], others: Iterable[Episode]
) -> None:
    rows, others = list(rows), list(others)
    pairs = {(kind_of_keys(one.keys), kind_of_keys(other.keys)): None for one in rows for other in others}
    firing = tuple(one.episode for one in rows if one.ended_at is None)
    together = into in {one.incident for one in others}
    _ask(stage, Regrouped(stage.now, who, incident, into, together, firing, tuple(pairs), "api"))


def _open(stage: Stage, owner: str, name: str, matchers: str, lease: str) -> None:
    """POST /api/v2/windows, also to renew it."""
    ends_at, _ = clock(f"+{lease}", stage.now, stage.zone)
    _ask(stage, WindowOpened(stage.now, name, owner, tuple(matchers.split()), ("INFO", "WARNING"), ends_at))


def _renew(stage: Stage, owner: str, name: str, lease: str) -> None:
    _open(stage, owner, name, " ".join(stage.state.windows[name].matchers), lease)


def _end(stage: Stage, owner: str, name: str) -> None:
    """DELETE /api/v2/windows/{name}."""
    _ask(stage, WindowClosed(stage.now, name, f"ended for {owner}"))


# ----------------------------------------------------------------------------------------------------------- Alertmanager


def _settle(stage: Stage, outcome: str) -> None:
    """Alertmanager's answer to the newest silence that was asked for."""
    pattern = _ours(stage, "asked")
    settled = SilenceSettled(stage.now, pattern, {"takes": "active", "refuses": "failed"}[outcome], "5f3c")
    stage.batch(Inputs(outcomes=(settled,)))


def _see_silenced(stage: Stage, about: str, who: str) -> None:
    """The watcher reads GET /api/v2/alerts."""
    muted = Mute("a7e1", who, stage.now + 7200.0)
    if who == "us":
        known = stage.state.silences["\x1f".join(_ours(stage, "active", "theirs"))]
        muted = Mute(known.silence_id, known.created_by, known.ends_at)
    found = [stage.received(replace(named, verb=_verb(stage, named))) for named in alerts(about, "")]
    stage.batch(Inputs(tuple(Received(one.alert, one.group_key, "", one.at, None, (muted,)) for one in found)))


def _verb(stage: Stage, named: Named) -> str:
    """Whether it is one that fires already."""
    known = [stage.state.episodes.get(one.fingerprint) for one in stage.like(named)]
    return "again" if any(one is not None and one.ended_at is None for one in known) else "fires"


def _see_gone(stage: Stage, about: str) -> None:
    """It was absent twice on every Alertmanager."""
    ends = [EpisodeEnded(stage.now, one.episode, one.keys.fingerprint, stage.now) for one in _episodes(stage, about)]
    _ask(stage, *ends)


def _expire(stage: Stage, who: str) -> None:
    """A person ends our silence in Alertmanager, and the watcher finds it so."""
    pattern = _ours(stage, "active")
    known = stage.state.silences["\x1f".join(pattern)]
    why = "somebody expired it in Alertmanager"
    _ask(stage, SilenceEnded(stage.now, pattern, known.silence_id, why, known.hidden, "revoked"))


def _edit(stage: Stage, who: str, later: str) -> None:
    """A person makes our silence last longer."""
    pattern = _ours(stage, "active")
    known = stage.state.silences["\x1f".join(pattern)]
    ends_at, _ = clock(f"+{later}", known.ends_at, stage.zone)
    _ask(stage, SilenceChanged(stage.now, pattern, known.silence_id, "theirs", ends_at, "somebody changed its end"))


def _ours(stage: Stage, *states: str) -> Pattern:
    found = [key for key, one in stage.state.silences.items() if one.state in states]
    if not found:
        raise Unreadable(f"no silence of ours is {' or '.join(states)}")
    return Pattern(*found[-1].split("\x1f"))


# ------------------------------------------------------------------------------------------------------------- what it has


def _ask(stage: Stage, *events: Event) -> None:
    stage.batch(Inputs(asks=events))


def _episodes(stage: Stage, about: str) -> list[Episode]:
    return [stage.state.episodes[stage.find(named).fingerprint] for named in alerts(about, "is meant")]


def _members(stage: Stage, incident: str) -> list[Episode]:
    return [one for one in stage.state.episodes.values() if one.incident == incident]


STEPS: Final[list[tuple[str, Callable[..., Any]]]] = [
    (r"(?P<text>(?:fires|again|resolves) .+)", _arrive),
    (r"nothing more happens", _wait),
    (r"restart", _restart),
    (r"(?P<who>\w+) says (?P<kind>\w+) of (?P<about>.+)", _vote),
    (r"(?P<who>\w+) (?P<back>takes back) (?P<kind>\w+) of (?P<about>.+)", _vote),
    (r"(?P<who>\w+) takes (?P<about>.+) out of its incident", _take_out),
    (r"(?P<who>\w+) merges the incident of (?P<about>.+) into that of (?P<other>.+)", _merge),
    (r"(?P<owner>\w+) opens the window (?P<name>\w+) over (?P<matchers>.+) for (?P<lease>\w+)", _open),
    (r"(?P<owner>\w+) renews the window (?P<name>\w+) for (?P<lease>\w+)", _renew),
    (r"(?P<owner>\w+) ends the window (?P<name>\w+)", _end),
    (r"the message to (?P<receiver>\S+) of (?P<about>.+?) (?P<outcome>is lost for good|arrives)", _deliver),
    (r"the model now says (?P<score>\S+) of (?P<about>.+)", _rescore),
    (r"Alertmanager (?P<outcome>takes|refuses) the silence", _settle),
    (r"the watcher sees (?P<about>.+) silenced by (?P<who>\w+)", _see_silenced),
    (r"the watcher finds (?P<about>.+) gone", _see_gone),
    (r"(?P<who>\w+) expires our silence in Alertmanager", _expire),
    (r"(?P<who>\w+) makes our silence last (?P<later>\w+) longer", _edit),
    (
        r"(?P<count>\d+) (?:(?P<severity>[A-Z]+) )?incidents? of (?P<name>\w+)(?: on (?P<service>\w+))?, voted (?P<said>noise|real)",
        _judge,
    ),
    (r"(?P<times>\d+) times every (?P<every>\w+): (?P<what>.+)", _repeat),
]
