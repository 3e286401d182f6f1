"""The whole story of one alert, for people: what was seen, the score and why, each rule, every delivery attempt."""

from __future__ import annotations

from datetime import UTC, datetime

from models.explanation import reasons as in_words
from sidecar.context import Measured, line_of
from sidecar.errors import UnknownEpisode
from sidecar.store import contexts, digests, queries
from sidecar.store.engine import Database
from sidecar.store.queries import DecisionRow, EpisodeRow


async def tell(database: Database, word: str) -> str:
    """The story of an episode id, fingerprint, incident or alertname (its newest). Raises UnknownEpisode."""
    async with database.read() as connection:
        found = await queries.look_up(connection, word)
        if not found:
            raise UnknownEpisode(f"no episode, fingerprint, incident or alertname {word!r} was ever seen")
        row = found[0]
        decided = (await queries.decisions_of(connection, [row.episode])).get(row.episode, [])
        sent = await queries.deliveries_of(connection, row.incident) if row.incident else []
        said = await queries.votes_on(connection, [row.episode])
        listed = await digests.listing(connection, row.episode, row.first_seen)
        measured = (await contexts.of(connection, [row.episode])).get(row.episode, [])
    parts = [
        _seen(row),
        _measured(measured),
        *(_decided(one) for one in decided),
        _sent(sent),
        _listed(listed),
        _said(said),
    ]
    others = [one.episode for one in found[1:]]
    if others:
        parts.append("Others that match: " + ", ".join(others))
    return "\n\n".join(part for part in parts if part) + "\n"


def at(seconds: float | None) -> str:
    """A moment as people read it, UTC."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _seen(row: EpisodeRow) -> str:
    state = f"ended {at(row.ended_at)}" if row.ended_at is not None else "still firing"
    lines = [
        f"Episode {row.episode}  (incident {row.incident or '-'})",
        f"  {row.labels.get('alertname', '')}: started {at(row.starts_at)}, {state}",
        f"  first seen {at(row.first_seen)}, last {at(row.last_seen)}, sent {row.times} time(s)",
        "  labels: " + ", ".join(f"{name}={value}" for name, value in sorted(row.labels.items())),
    ]
    lines += [f"  {name}: {value}" for name, value in sorted(row.annotations.items())]
    return "\n".join(lines)


def _measured(many: list[Measured]) -> str:
    lines = ["Around its start, by Prometheus"] if many else []
    for one in many:
        lines.append(f"  {line_of(one) or f'{one.name}: not measured: {one.why}'}")
        lines.append(f"    asked {at(one.at)}: {' '.join(one.query.split())}")
    return "\n".join(lines)


def _decided(one: DecisionRow) -> str:
    score = "no score" if one.score is None else f"false-positive score {one.score:.2f}"
    lines = [f"{at(one.at)}  {one.verdict.upper()}  ({score}, model {one.model or '-'})"]
    lines += [f"  because {words}" for words in (in_words(one.observation) if one.observation else ())]
    lines += [f"  rule {rule}: {sentence}" for rule, sentence in one.reasons]
    lines += [f"  {mark}" for mark in one.marks]
    if one.receivers:
        lines.append("  receivers: " + ", ".join(one.receivers))
    if one.until is not None:
        lines.append(f"  until {at(one.until)}")
    return "\n".join(lines)


def _sent(rows: list[dict[str, object]]) -> str:
    if not rows:
        return "Nothing was sent."
    lines = ["Deliveries of its incident"]
    for row in rows:
        if row["n"] is None:
            lines.append(f"  {row['receiver']}  {row['kind']}: {row['state']}")
            continue
        said = row["why"] or (row["body"] if row["kind"] == "raise" else "")  # of an escalation: that it is one
        why = f" ({said})" if said else ""
        when = at(float(str(row["at"])))
        lines.append(f"  {when}  {row['receiver']}  {row['kind']}: attempt {row['n']} {row['outcome']}{why}")
    return "\n".join(lines)


def _listed(digests: list[tuple[str, str, float]]) -> str:
    return "\n".join(f"{at(when)}  in the digest of {receiver} ({name})" for name, receiver, when in digests)


def _said(rows: list[dict[str, object]]) -> str:
    if not rows:
        return "Nobody has voted on it."
    taken = {True: " (taken back)", False: ""}
    return "\n".join(
        ["Votes", *(f"  {at(float(str(r['at'])))}  {r['who']}: {r['kind']}{taken[bool(r['retracted'])]}" for r in rows)]
    )
