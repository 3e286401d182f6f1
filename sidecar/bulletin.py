"""What sums up, as values that every channel renders: a digest, the end of a silence, a week's silences."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from sidecar.domain import DeliveryKind

Data = dict[str, str | int | float | bool | None]


class Item(Struct, frozen=True):
    """One line of a bulletin: a heading, what is to be said of it, and where to answer."""

    title: str
    facts: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # (text, URL)
    episodes: tuple[str, ...] = ()  # what an answer to this line is about: the newest ones
    data: Data = {}  # the same for programs


class Bulletin(Struct, frozen=True):
    """What sums up: the digest, the end of a silence, a week's silences. Pure data, as Message; kind "digest" in the outbox."""

    incident: str  # its own name, e.g. "digest-<receiver>-<until>"
    receiver: str
    what: Literal["digest", "silence", "review"]
    title: str
    since: float
    until: float
    lead: tuple[str, ...] = ()  # sentences above the items
    items: tuple[Item, ...] = ()
    more: int = 0  # items beyond
    foot: tuple[str, ...] = ()  # how to answer
    kind: DeliveryKind = "digest"
