"""`sidecar backtest` for people and for programs: two configurations on what happened, as text, a page, or JSON values."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from sidecar.reports.page import moment, render
from training.compare import LOST, Case, Comparison, Side, as_json, less, side_as_json, verdict
from training.ledger import Count

WIDTH: Final = 100
SHOWN: Final = 50  # cases in the text; the page and the JSON have all
TARGET: Final = 3.0  # alerts per notification, specification section 10
DONE: Final = {
    "suppress": "suppressed",
    "hold": "held",
    "digest": "recorded and not sent",
    "notify": "told by itself, not in a message that people had,",
}
NOBODY: Final = Count()
COUNTED: Final = (
    "An interruption is a message to one receiver that tells something anew: the first of an incident, a raised severity, "
    "a reminder. It is false when no alert in it was real and one was called noise. Alerts per notification: alerts told, "
    "once per receiver, over interruptions; the target is over 3. A real incident is an instance's real alerts with gaps "
    "under 30 minutes."
)
Each = Sequence[tuple[str, Side]]


def values(found: Comparison, each: Each, as_ladder: Comparison | None) -> dict[str, Any]:
    """Everything as JSON values."""
    return {
        **as_json(found),
        "without_rule": [{"rule": rule, **side_as_json(side)} for rule, side in each],
        "as_ladder": None if as_ladder is None else as_json(as_ladder),
    }


# --------------------------------------------------------------------------------------------------------------- the rows


def rows(found: Comparison) -> list[tuple[str, str, str, str]]:
    """(what, present, new, difference) of each line of the table."""
    present, new = found.present.outcome, found.new.outcome
    return [
        _counted("interruptions", present.total.interruptions, new.total.interruptions),
        _counted("  false", present.total.false, new.total.false),
        _counted("  with a real alert", present.total.real, new.total.real),
        _counted("  without a label", present.total.unlabelled, new.total.unlabelled),
        *_by("to", present.receivers, new.receivers),
        *_by("of", present.severities, new.severities),
        ("alerts per notification", efficiency(present.total), efficiency(new.total), ""),
        *_incidents(found),
        *_escalations(present.escalations, new.escalations),
    ]


def _by(word: str, present: Mapping[str, Count], new: Mapping[str, Count]) -> Iterable[tuple[str, str, str, str]]:
    for name in dict.fromkeys([*present, *new]):
        before, after = present.get(name, NOBODY), new.get(name, NOBODY)
        yield _counted(f"  {word} {name}", before.interruptions, after.interruptions)


def _escalations(present: int, new: int) -> Iterable[tuple[str, str, str, str]]:
    if present or new:  # a history does not say who acknowledged what
        yield _counted("escalations, if nobody acknowledges", present, new)


def _counted(what: str, before: int, after: int) -> tuple[str, str, str, str]:
    share = less(before, after)
    return what, f"{before:,}", f"{after:,}", "" if not share else f"{-share:+.0%}"


def efficiency(count: Count) -> str:
    """Alerts per notification, as people read it."""
    return "-" if count.efficiency is None else f"{count.efficiency:.1f}"


def _incidents(found: Comparison) -> list[tuple[str, str, str, str]]:
    before, after = found.present.told, found.new.told
    if not before.incidents:
        return [("real incidents", "none on record", "none on record", "")]
    return [
        ("real incidents told", f"{before.told} of {before.incidents}", f"{after.told} of {after.incidents}", ""),
        ("  within 15 minutes", f"{before.in_time}", f"{after.in_time}", ""),
    ]


def case_lines(case: Case) -> tuple[str, str]:
    """(what happened to it, why)."""
    where = f" on {case.where}" if case.where else ""
    more = f" and {case.alerts - 1} more alert{'s' * (case.alerts > 2)}" if case.alerts > 1 else ""
    rises = f", up to {case.highest}" if case.highest != case.severity else ""
    what = f"{moment(case.began)}  {case.severity}  {case.alertname or '(no alertname)'}{where}{more}{rises}"
    if case.delay is None:
        return f"{what}: nobody would have been told", f"{case.rule}: {case.reason}"
    late = "" if case.in_time else ", over 15 minutes after it began"
    return f"{what}: told {_minutes(case.delay)} later{late}", f"{case.rule}: {case.reason}"


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


# --------------------------------------------------------------------------------------------------------------- the text


def text(found: Comparison, each: Each, as_ladder: Comparison | None) -> str:
    """For a terminal."""
    labelled = f"{found.labelled:,} of them labelled" if found.labelled else "none of them labelled"
    lines = [f"{found.alerts:,} alerts, {moment(found.since)} to {moment(found.until)} UTC, {labelled}", ""]
    if found.present.outcome is not found.new.outcome:
        lines += _table(found)
        if as_ladder is None:
            lines += ["", *_cases(found)]
        lines += ["", f"verdict: {verdict(found)}"]
    if as_ladder is not None:
        lines += _as_ladder(found, as_ladder)
    if each:
        lines += [*([""] if lines[-1] else []), *_worth(found.new, each)]
    return "\n".join([*lines, "", *textwrap.wrap(COUNTED, WIDTH)]) + "\n"


def _table(found: Comparison) -> list[str]:
    present, new = (textwrap.shorten(one, 24, placeholder="…") for one in _names(found))
    shown = [("", present, new, ""), *rows(found)]
    wide = max(len(row[0]) for row in shown) + 2
    return [f"{what:<{wide}}{left:>26}{right:>26}{change:>10}".rstrip() for what, left, right, change in shown]


def _names(found: Comparison) -> tuple[str, str]:
    return found.present.outcome.name, found.new.outcome.name


def _cases(found: Comparison) -> list[str]:
    lines: list[str] = []
    for what, title in ((LOST, "real incidents lost"), ("delayed", "real incidents delayed")):
        cases = [case for case in found.cases if case.what == what]
        lines.append(f"{title}: {len(cases) or 'none'}")
        for case in cases[:SHOWN]:
            happened, why = case_lines(case)
            lines.append(f"  {happened}")
            lines += textwrap.wrap(why, WIDTH, initial_indent="      ", subsequent_indent="      ")
        if len(cases) > SHOWN:
            lines.append(f"  {len(cases) - SHOWN} more: --format json, or --html FILE")
    if found.gained or found.sooner:
        lines.append(f"real incidents that only the new one tells: {found.gained}; told sooner: {found.sooner}")
    return lines


def _as_ladder(found: Comparison, as_ladder: Comparison) -> list[str]:
    """What mode shadow would do if it did it."""
    lines = ["", f"{found.new.outcome.name} is in mode shadow, which keeps nothing back. What it would have done:", ""]
    lines += [*_table(as_ladder), "", *_cases(as_ladder), ""]
    marked = found.new.outcome.shadow
    if marked:
        lines.append("marked by the shadow, on the first look at each alert:")
        lines += [
            f"  {count:>7,}  {in_words(what)}" for what, count in sorted(marked.items(), key=lambda item: -item[1])
        ]
    return [*lines, f"verdict, as mode ladder: {verdict(as_ladder)}"]


def in_words(what: str) -> str:
    """What a shadow would have done, such as "hold by suppression_by_score", as people say it."""
    verdict, _, rest = what.partition(" ")
    return f"{DONE.get(verdict, verdict)} {rest}"


def _worth(new: Side, each: Each) -> list[str]:
    """The table of the rules switched off, one after another."""
    head = ("", "interruptions", "false", "alerts per notification", "lost", "late")
    shown = [("all rules on", new), *((f"without {rule}", side) for rule, side in each)]
    wide = max(len(name) for name, _ in shown) + 2
    lines = [f"{head[0]:<{wide}}{head[1]:>14}{head[2]:>10}{head[3]:>25}{head[4]:>8}{head[5]:>8}"]
    for name, side in shown:
        cells = worth(side)
        lines.append(f"{name:<{wide}}{cells[0]:>14}{cells[1]:>10}{cells[2]:>25}{cells[3]:>8}{cells[4]:>8}")
    return [*lines, f"lost: of {new.told.incidents} real incidents, those nobody was told of; late: after 15 minutes"]


def worth(side: Side) -> tuple[str, str, str, str, str]:
    """Interruptions, false ones, alerts per notification, incidents lost and late."""
    total = side.outcome.total
    return (
        f"{total.interruptions:,}",
        f"{total.false:,}",
        efficiency(total),
        f"{side.told.lost}",
        f"{side.told.late}",
    )


# --------------------------------------------------------------------------------------------------------------- the page


def page(found: Comparison, each: Each, as_ladder: Comparison | None) -> str:
    """The same as one HTML file that loads nothing."""
    script = files("sidecar.reports").joinpath("table.js").read_text("utf-8")
    parts = [] if found.present.outcome is found.new.outcome else [_part(found)]
    parts += [] if as_ladder is None else [_part(as_ladder)]
    return render(
        "comparison.html", scripts=(script,), found=found, parts=parts, counted=COUNTED,
        each=[("all rules on", worth(found.new)), *((f"without {rule}", worth(side)) for rule, side in each)] if each else [],
    )  # fmt: skip


def _part(found: Comparison) -> dict[str, Any]:
    present, new = _names(found)
    cases = [(case, *case_lines(case)) for case in found.cases]
    return {"present": present, "new": new, "verdict": verdict(found), "rows": rows(found), "cases": cases}
