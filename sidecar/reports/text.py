"""The reports as text for a terminal."""

from __future__ import annotations

import textwrap
from typing import Any, Final

from sidecar.config.durations import format_duration
from sidecar.reports.page import UNKNOWN, moment, spell_share

WIDTH: Final = 100
SAID: Final = {True: "met", False: "missed", None: ""}
PARTS: Final = (
    ("effect", "What it did, and what that cost"),
    ("success", "Success metrics (specification, section 10)"),
    ("feedback", "Feedback (specification, section 8.4)"),
)


def spell(metric: dict[str, Any]) -> str:
    """The value with its bounds, or that it was not measured."""
    if metric["value"] is None:
        return UNKNOWN
    value = _amount(metric["value"], metric["unit"])
    if metric["low"] is None and metric["high"] is None:
        return value
    low, high = (
        "?" if bound is None else _amount(bound, metric["unit"]) for bound in (metric["low"], metric["high"])
    )  # fmt: skip
    return f"{value}  [{low}, {high}]"


def _amount(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "seconds":
        return format_duration(round(value, 1) if value < 60 else round(value))
    return f"{value:.0f}" if unit == "count" else f"{value:.2f}"


def report(found: dict[str, Any]) -> str:
    """`success.success` for people."""
    lines = [f"{moment(found['since'])} to {moment(found['until'])} UTC, bounds at 95 %"]
    counts = found["counts"]
    lines.append(
        f"{counts['episodes']} alerts, {counts['interruptions']} interruptions, {counts['incidents_told']} incidents told,"
        f" {counts['episodes_judged']} alerts judged"
    )
    for part, title in PARTS:
        lines += ["", title]
        for metric in found[part]:
            target = f"  (target {metric['target']}) {SAID[metric['met']]}".rstrip() if metric["target"] else ""
            lines.append(f"  {metric['title']:<40} {spell(metric)}{target}")
            said = metric["why"] if metric["value"] is None else metric["note"]
            lines += textwrap.wrap(said or "", WIDTH, initial_indent="      ", subsequent_indent="      ")
    return "\n".join([*lines, *_withheld(found["withheld_silences"])]) + "\n"


def _withheld(silences: list[dict[str, Any]]) -> list[str]:
    lines = ["", "Silences that mode shadow would have asked for"] if silences else []
    for one in silences:
        pattern = ", ".join(f"{name}={value}" for name, value in one["pattern"].items() if value)
        lines.append(f"  {moment(one['at'])} to {moment(one['ends_at'])}  {pattern}")
        lines += textwrap.wrap(one["comment"], WIDTH, initial_indent="      ", subsequent_indent="      ")
    return lines


def rules(rows: list[dict[str, Any]], limit: int) -> str:
    """`noise.noisy_rules` for people: the worst `limit`, each with its suggestion below it."""
    if not rows:
        return "no alert came in this time\n"
    lines = [f"{'alertname':<32}{'episodes':>9}{'interrupts':>11}{'real':>6}  false share of judged incidents, 95 %"]
    for row in rows[:limit]:
        false = f"{spell_share(row['false'])} of {row['false']['trials']}" if row["false"]["trials"] else UNKNOWN
        name = textwrap.shorten(row["alertname"] or "(none)", 31, placeholder="…")
        lines.append(f"{name:<32}{row['episodes']:>9}{row['interruptions']:>11}{row['real_incidents']:>6}  {false}")
        lines += textwrap.wrap(row["suggestion"], WIDTH, initial_indent="    ", subsequent_indent="    ")
    if len(rows) > limit:
        lines.append(f"{len(rows) - limit} more: --limit {len(rows)}, or --json")
    return "\n".join(lines) + "\n"
