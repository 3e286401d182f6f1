"""What was kept back -> the Bulletin that channels render: one line per kind of alert, those without an answer first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from sidecar.bulletin import Bulletin, Data, Item
from sidecar.channels.prose import format_span, one_line
from sidecar.config import Config
from sidecar.domain import Pattern, severity_rank
from sidecar.events import DigestDue, ReviewDue, SilenceEnded
from sidecar.rules.base import moment
from sidecar.state.silences import LASTING
from sidecar.store.digests import MOST, Kept
from sidecar.store.silences import SilenceRow

LISTED: Final = 1000  # episodes that one digest remembers, for answers to it
WORD: Final = 80  # characters of a label in a heading
DONE: Final = {"suppress": "suppressed", "digest": "recorded and not sent", "hold": "held until it cleared"}


def digest_of(name: str, due: DigestDue, kept: Sequence[Kept], folded: int, config: Config) -> Bulletin:
    """The digest of one receiver. `kept` is what was kept back, newest first, `folded` a count."""
    kinds = sorted(_by_kind(kept).items(), key=_first_things_first)
    shown = kinds[: config.digest.lines]
    each = max(1, LISTED // max(1, len(shown)))
    items = tuple(_item(pattern, alerts, each) for pattern, alerts in shown)
    lead = [_overall(due, kept, config), _unanswered(kept, kinds)]
    if folded:
        lead.append(f"{_alerts(folded)} more joined incidents that had been told.")
    title = f"{_many(len(kept))} kept back, of {_kinds(len(kinds))}" if kept else "nothing was kept back"
    return Bulletin(
        name, due.receiver, "digest", title, due.since, due.until, tuple(filter(None, lead)), items,
        len(kinds) - len(items),
    )  # fmt: skip


def _by_kind(kept: Iterable[Kept]) -> dict[Pattern, list[Kept]]:
    found: dict[Pattern, list[Kept]] = {}
    for one in kept:
        found.setdefault(Pattern.of(one.labels), []).append(one)
    return found


def _first_things_first(kind: tuple[Pattern, list[Kept]]) -> tuple[bool, int, int, Pattern]:
    pattern, alerts = kind
    answered = all(one.answered for one in alerts)
    return answered, -severity_rank(pattern.severity), -len(alerts), pattern


def _overall(due: DigestDue, kept: Sequence[Kept], config: Config) -> str:
    zone = ZoneInfo(config.digest.timezone)
    when = f"From {clock(due.since, zone)} to {clock(due.until, zone)}"
    if not kept:
        return f"{when} nothing was kept back."
    firing = sum(one.ended_at is None for one in kept)
    still = f" {firing} of them still fire{'s' if firing == 1 else ''}." if firing else ""
    return f"{when}: {_alerts(len(kept))} interrupted nobody, {_done(kept)}.{still}"


def _unanswered(kept: Sequence[Kept], kinds: Sequence[object]) -> str:
    left = sum(not one.answered for one in kept)
    if not left:
        return "All of it has an answer." if kinds else ""
    return f"Nobody has answered {left} of them: was it noise, or should it have been told?"


def _done(kept: Iterable[Kept]) -> str:
    counts = Counter(DONE["hold" if one.rule == "hold" else one.verdict] for one in kept)
    return ", ".join(f"{count} {words}" for words, count in counts.most_common())


def _item(pattern: Pattern, alerts: Sequence[Kept], most: int) -> Item:
    scores = [one.score for one in alerts if one.score is not None]
    lasted = [one.ended_at - one.starts_at for one in alerts if one.ended_at is not None]
    firing, answered = len(alerts) - len(lasted), sum(one.answered for one in alerts)
    usual = median(lasted) if lasted else None
    reason = Counter(one.sentence for one in alerts).most_common(1)[0][0]
    facts = [
        _times(len(alerts), firing, usual),
        _range(scores),
        f"{_done(alerts)}: {one_line(reason, 250)}" if reason else _done(alerts),
        f"answered: {answered} of {len(alerts)}" if answered else "",
        f"an answer here counts for the newest {most}" if len(alerts) > most else "",
    ]
    data: Data = {
        "alertname": one_line(pattern.alertname, WORD), "namespace": one_line(pattern.namespace, WORD),
        "service": one_line(pattern.service, WORD), "severity": one_line(pattern.severity, WORD), "count": len(alerts),
        "firing": firing, "answered": answered, "usual_seconds": usual, "lowest_score": min(scores, default=None),
        "highest_score": max(scores, default=None), "reason": one_line(reason, 250),
    }  # fmt: skip
    episodes = tuple(one.episode for one in alerts[:most])
    return Item(_heading(pattern, alerts), tuple(filter(None, facts)), (), episodes, data)


def _heading(pattern: Pattern, alerts: Sequence[Kept]) -> str:
    where = one_line(pattern.service, WORD)
    if not where:
        places = {one.labels.get("instance") or one.labels.get("node") or "" for one in alerts} - {""}
        where = one_line(next(iter(places)), WORD) if len(places) == 1 else f"{len(places)} instances" if places else ""
    return kind_of(pattern, where)


def kind_of(pattern: Pattern, where: str = "") -> str:
    """What, where and how severe, in a line."""
    name, space = one_line(pattern.alertname, WORD) or "an alert without a name", one_line(pattern.namespace, WORD)
    where = where or one_line(pattern.service, WORD)
    text = name + (f" on {where}" if where else "") + (f" ({space})" if space else "")
    return f"{text} · {one_line(pattern.severity, 20)}"


def _times(count: int, firing: int, usual: float | None) -> str:
    said = "once" if count == 1 else f"{count} times"
    if firing:
        said += ", still firing" if firing == count else f", {firing} of them still firing"
    if usual is None:
        return said
    return f"{said}, over after {format_span(usual)}" + (" as a rule" if count - firing > 1 else "")


def _range(scores: Sequence[float]) -> str:
    if not scores:
        return ""
    low, high = f"{min(scores):.0%}", f"{max(scores):.0%}"
    return f"{low if low == high else f'{low} to {high}'} likely a false alarm"


# ------------------------------------------------------------------------------------------------------------- silences


def ending_of(name: str, receiver: str, ended: SilenceEnded, known: SilenceRow | None) -> Bulletin:
    """The end of a silence of ours: what it hid, for how long, and why it ended. `known`: as the table has it."""
    since = known.asked_at if known is not None and known.asked_at <= ended.at else ended.at
    span = f" in {moment(ended.at - since)}" if ended.at > since else ""
    lead = [f"It hid {_alerts(ended.hidden)}{span}.", _sentence(ended.why)]
    if known is not None:
        lead += [f"It stood on {_alerts(len(known.evidence))} called noise."] if known.evidence else []
        lead += [f"Its comment: {one_line(known.comment, 280)}"] if known.comment else []
    lead.append("What fires now is told again.")
    title = f"the silence for {kind_of(ended.pattern)} is over"
    return Bulletin(name, receiver, "silence", title, since, ended.at, tuple(filter(None, lead)))


def review_of(
    name: str, due: ReviewDue, rows: Sequence[SilenceRow], ends: Sequence[Mapping[str, Any]], config: Config
) -> Bulletin:
    """Our silences of a time: what each hid, on which evidence it stood, how it ended, and what stands now.

    `rows`: the newest silence of each pattern, `ends`: all that ended in the time, oldest first.
    """
    zone = ZoneInfo(config.digest.timezone)
    ended: dict[Pattern, list[Mapping[str, Any]]] = {}
    for one in ends:
        ended.setdefault(Pattern(*msgspec.json.decode(one["pattern"])), []).append(one)
    known = {row.pattern: row for row in rows}
    standing = {row.pattern for row in rows if row.state in LASTING and row.asked_at <= due.until < row.ends_at}
    asked = {row.pattern for row in rows if due.since < row.asked_at <= due.until}
    patterns = sorted({*standing, *asked, *ended}, key=lambda one: (one not in standing, one))
    shown = patterns[: config.digest.lines]
    items = tuple(_reviewed(one, known.get(one), ended.get(one, []), one in standing, zone) for one in shown)
    lead = (
        f"From {clock(due.since, zone)} to {clock(due.until, zone)}: {len(ends)} over, {len(standing)} standing now.",
        f"Those that are over hid {_alerts(sum(one['hidden'] for one in ends))}.",
        "To look closer, or to end one: `sidecar silences`.",
    )
    title = f"silences of the sidecar: {len(standing)} standing, {len(ends)} over"
    return Bulletin(name, due.receiver, "review", title, due.since, due.until, lead, items, len(patterns) - len(items))


def _reviewed(
    pattern: Pattern, known: SilenceRow | None, ends: Sequence[Mapping[str, Any]], standing: bool, zone: ZoneInfo
) -> Item:
    facts, data = [], _counted(known, ends, standing)
    if known is not None and standing:
        facts.append(f"stands until {clock(known.ends_at, zone)}, and hid {_alerts(known.hidden)} so far")
        facts += ["a person has edited it: it is theirs now"] if known.state == "theirs" else []
    for one in ends[-3:]:
        facts.append(f"over {clock(one['at'], zone)}: {one_line(one['why'], 150)}; it hid {_alerts(one['hidden'])}")
    facts += [f"{len(ends) - 3} more ends before these"] if len(ends) > 3 else []
    if known is not None:
        facts += [f"evidence: {_alerts(len(known.evidence))} called noise"] if known.evidence else []
        facts += (
            [] if standing or ends else [f"{known.state}: {one_line(known.why, 150)}" if known.why else known.state]
        )
    return Item(kind_of(pattern), tuple(facts), (), (), data)


def _counted(known: SilenceRow | None, ends: Sequence[Mapping[str, Any]], standing: bool) -> Data:
    return {
        "standing": standing,
        "ends_at": known.ends_at if known is not None and standing else None,
        "hidden": sum(one["hidden"] for one in ends) + (known.hidden if known is not None and standing else 0),
        "over": len(ends),
        "evidence": len(known.evidence) if known is not None else 0,
    }


# ---------------------------------------------------------------------------------------------------------------- words


def clock(at: float, zone: ZoneInfo) -> str:
    """A moment as people there say it."""
    return datetime.fromtimestamp(at, zone).strftime("%a %d %b %H:%M %Z")


def _many(count: int) -> str:
    return f"at least {count} alerts were" if count >= MOST else "1 alert was" if count == 1 else f"{count} alerts were"


def _alerts(count: int) -> str:
    return f"{count} alert{'' if count == 1 else 's'}"


def _kinds(count: int) -> str:
    return "one kind" if count == 1 else f"{count} kinds"


def _sentence(text: str) -> str:
    said = one_line(text, 250)
    return said and said[0].upper() + said[1:] + ("" if said.endswith((".", "!", "?")) else ".")
