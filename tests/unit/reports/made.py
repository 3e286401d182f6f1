"""Episodes, votes and messages made by hand, so that every answer is known."""

from __future__ import annotations

from typing import Any

from sidecar.store.reports import Episode, Message, Period

NOON = 1_795_000_000.0
SAID = {"fp": "false_positive", "tp": "useful"}


def story(*rows: dict[str, Any], **more: Any) -> Period:
    """A period of these episodes. A row: name, at and lasts in minutes, incident, said (fp, tp or nothing), and fields
    of `Episode`; what does not say otherwise interrupts.
    """
    episodes, votes = [], []
    for number, given in enumerate(rows):
        row = {"name": "A", "at": 0.0, "lasts": 60.0, "incident": f"i{number}", "said": "", "interrupts": True} | given
        starts = NOON + 60.0 * row.pop("at")
        lasts, said, name = row.pop("lasts"), row.pop("said"), row.pop("name")
        ends = None if lasts is None else starts + 60.0 * lasts
        fields = {"instance": "db-1", "severity": "WARNING"} | row
        episodes.append(Episode(f"e{number}", alertname=name, starts_at=starts, ended_at=ends, **fields))
        if said:
            votes.append((f"e{number}", "ada", SAID.get(said, said), starts + 7200.0, False))
    told = {one.incident: one.starts_at if one.told else None for one in episodes}
    return Period(NOON - 3600.0, NOON + 86400.0, episodes, **({"told_at": told, "votes": votes} | more))


def message(incident: str, took: float | None, state: str = "sent", seq: int = 1, kind: str = "notify") -> Message:
    return Message(incident, seq, kind, state, NOON, None if took is None else NOON + took)
