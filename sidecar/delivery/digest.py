"""What was kept back -> the Bulletin that channels render: one line per kind of alert, those without an answer first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from statistics import median
from typing import Final
from zoneinfo import ZoneInfo

from sidecar.bulletin import Bulletin, Item
from sidecar.channels.prose import format_span, one_line
from sidecar.config import Config
from sidecar.domain import DigestDue, Pattern, SilenceAsked, SilenceEnded, severity_rank
from sidecar.rules.base import moment
from sidecar.store.digests import MOST, Kept, Silenced

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
    data: dict[str, str | int | float | bool | None] = {
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


def ending_of(name: str, receiver: str, ended: SilenceEnded, known: Silenced | None) -> Bulletin:
    """The end of a silence of ours: what it hid, for how long, and why it ended."""
    since = known.asked_at if known is not None and known.asked_at <= ended.at else ended.at
    span = f" in {moment(ended.at - since)}" if ended.at > since else ""
    lead = [f"It hid {_alerts(ended.hidden)}{span}.", _sentence(ended.why)]
    lead += [f"It was written because: {one_line(known.comment, 250)}"] if known is not None and known.comment else []
    lead.append("What fires now is told again.")
    title = f"the silence for {kind_of(ended.pattern)} is over"
    return Bulletin(name, receiver, "silence", title, since, ended.at, tuple(filter(None, lead)))


def review_of(
    name: str, receiver: str, since: float, until: float, events: Sequence[SilenceAsked | SilenceEnded],
    active: Sequence[Silenced], config: Config,
) -> Bulletin:  # fmt: skip
    """Our silences of a time: what each hid, on which evidence it stood, how it ended, and what stands now."""
    zone = ZoneInfo(config.digest.timezone)
    standing = {Pattern(*one.pattern): one for one in active}
    asked: dict[Pattern, list[SilenceAsked]] = {}
    ended: dict[Pattern, list[SilenceEnded]] = {}
    for event in events:
        if isinstance(event, SilenceAsked):
            asked.setdefault(event.pattern, []).append(event)
        else:
            ended.setdefault(event.pattern, []).append(event)
    patterns = sorted({*standing, *asked, *ended}, key=lambda one: (one not in standing, one))
    items = tuple(
        _reviewed(one, asked.get(one, []), ended.get(one, []), standing.get(one), zone)
        for one in patterns[: config.digest.lines]
    )
    hidden = sum(event.hidden for many in ended.values() for event in many)
    written, over = sum(map(len, asked.values())), sum(map(len, ended.values()))
    lead = (
        f"From {clock(since, zone)} to {clock(until, zone)}: {written} written, {over} over, {len(standing)} standing now.",
        f"Those that are over hid {_alerts(hidden)}.",
        "To end one: `sidecar silences`, or expire it in Alertmanager.",
    )
    title = f"silences of the sidecar: {len(standing)} standing, {len(patterns)} in all"
    return Bulletin(name, receiver, "review", title, since, until, lead, items, len(patterns) - len(items))


def _reviewed(
    pattern: Pattern, asked: Sequence[SilenceAsked], ended: Sequence[SilenceEnded], standing: Silenced | None, zone: ZoneInfo
) -> Item:  # fmt: skip
    comment = standing.comment if standing is not None else asked[-1].comment if asked else ""
    evidence = standing.evidence if standing is not None else asked[-1].episodes if asked else ()
    facts = [f"stands until {clock(standing.ends_at, zone)}" if standing is not None else ""]
    facts += [
        f"over {clock(event.at, zone)}: {one_line(event.why, 150)}; it hid {_alerts(event.hidden)}"
        for event in ended[-3:]
    ]
    facts += [f"written {len(asked)} times"] if len(asked) > 1 else []
    facts += [f"evidence: {_alerts(len(evidence))} called noise"] if evidence else []
    facts += [one_line(comment, 250)] if comment else []
    hidden = sum(event.hidden for event in ended)
    data: dict[str, str | int | float | bool | None] = {
        "hidden": hidden, "written": len(asked), "over": len(ended), "standing": standing is not None,
        "evidence": len(evidence), "ends_at": standing.ends_at if standing is not None else None,
    }  # fmt: skip
    return Item(kind_of(pattern), tuple(filter(None, facts)), (), (), data)


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
