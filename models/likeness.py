"""How like two alerts read: the words of their labels, and an index that finds the texts that are nearly the same.

A text is made of words: label values cut at separators and at camelCase, in small letters. What changes from one firing
to the next without meaning anything else is masked: pod hashes, UUIDs, addresses, commit ids, numbers that stand alone.
A number that is part of a name (`m16`, `sda1`, `p99`) is not: it tells two things apart.

Two texts are alike when they are the same but for one word of letters, and the two spellings of it begin with the same
letter and are similar enough by rapidfuzz: `checkout` and `checkouts`. A ratio over the whole text would call
HighCpuUsage and HighGpuUsage (.92), or `payments-eu` and `payments-us` (.91), the same alert. They are not. A word too
many, a short word that differs, or a negation in front (`available`, `unavailable`) is another thing.

So the index needs one entry per word, the text with this word blanked (a *slot*): texts that are alike share a slot, and
a look-up reads as many slots as the text has words, however many texts there are. A slot keeps its newest texts only,
`SHARED` of them, which bounds the cost of a crowded one; that is all it can miss.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from rapidfuzz.distance import Indel

from models.table import Table

MASK: Final = "#"
BORDER: Final = "\x1e"  # between what has to be equal letter by letter and the text
FIELD: Final = "\x1f"
SHARED: Final = 64  # texts that a slot keeps
SHORTEST: Final = 4  # letters of a word that may differ at all
LONGEST: Final = 400  # characters of a label value that are read
MOST_SLOTS: Final = 12  # words of a text that may differ: the longest ones
TURNS: Final = 3  # from letter to digit or back within a hash; `http5xx` has two

_SAFE: Final = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes makes names of: apimachinery's rand.SafeEncodeString
_WHOLE: Final = re.compile(
    r"(?<![0-9a-z])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # UUID
    r"|\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?"  # IPv4, with its port
    r"|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,7}"  # IPv6
    r"|0x[0-9a-f]+)(?![0-9a-z])",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(rf"[^\W_]+|{MASK}")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(rf"(?<![^\W_])[^\W\d_]{{{SHORTEST},}}(?![^\W_])")
_NAMED: Final = re.compile(r"[A-Za-z]*\d*")  # letters, then digits: a name with a number in it
_SUFFIX: Final = re.compile(rf"[{_SAFE}]{{5}}")
_TEMPLATE: Final = re.compile(rf"[{_SAFE}]{{8,10}}")
_HEX: Final = re.compile(r"[0-9a-f]{7,}", re.IGNORECASE)
_TURN: Final = re.compile(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)")


class Like(NamedTuple):
    """A text that is alike, and how much, over the whole text: 0 to 1."""

    similarity: float
    key: str


@lru_cache(maxsize=65_536)
def text_of(values: tuple[str, ...]) -> str:
    """Label values as one text of masked words: "PodCrash" and "cart-7f9c8d5b6-x2x9z" give "pod crash" and "cart # #"."""
    return FIELD.join([" ".join(_words(value[:LONGEST])) for value in values])


def _words(value: str) -> Iterator[str]:
    hashed = False
    for token in _TOKEN.findall(_WHOLE.sub(MASK, value)):
        hashed = _volatile(token, after_hash=hashed)
        if hashed or token.isdigit():
            yield MASK
        else:
            yield from _HUMP.sub(" ", token).lower().split(" ")


def _volatile(token: str, *, after_hash: bool) -> bool:
    """Whether it is drawn at random. A name with a number at its end is not, unless a pod's hash came before it."""
    if _NAMED.fullmatch(token):
        return after_hash and _SUFFIX.fullmatch(token) is not None
    if _SUFFIX.fullmatch(token) or _TEMPLATE.fullmatch(token) or _HEX.fullmatch(token):
        return True
    return len(token) >= 5 and token.islower() and len(_TURN.findall(token)) >= TURNS


@lru_cache(maxsize=65_536)
def slots(key: str) -> tuple[str, ...]:
    """The text with each of its longer words blanked but for its first letter; what is before the border stays."""
    start = key.rfind(BORDER) + 1
    found = sorted(_WORD.finditer(key, start), key=lambda match: match.start() - match.end())[:MOST_SLOTS]
    return tuple([f"{key[: one.start() + 1]}*{key[one.end() :]}" for one in found])


def near(index: Mapping[str, tuple[str, ...]], key: str, threshold: float) -> list[Like]:
    """The texts of the index that are alike and not the same, the most similar first and the newest first among equals."""
    found = [
        Like(similarity(key, other), other)
        for slot in slots(key)
        for other in reversed(index.get(slot) or ())
        if other != key and _word_in(other, slot, key) >= threshold
    ]
    return sorted(found, key=lambda like: -like.similarity) if found else found


def alike(one: str, other: str, threshold: float) -> bool:
    """Whether two texts are the same, or the same but for one word that is at least so similar, 0 to 1."""
    if one == other:
        return True
    shared = set(slots(one)).intersection(slots(other))
    return any(_word_in(other, slot, one) >= threshold for slot in shared)


def similarity(one: str, other: str) -> float:
    """Of two texts as a whole, without what is before their border: 0 to 1."""
    return Indel.normalized_similarity(one[one.rfind(BORDER) + 1 :], other[other.rfind(BORDER) + 1 :])


def _word_in(other: str, slot: str, key: str) -> float:
    """How similar the two words are that stand where the slot is blank: both texts are the slot around it."""
    start = slot.find("*", slot.rfind(BORDER)) - 1  # a text of words has no star of its own
    after = len(slot) - start - 2
    return Indel.normalized_similarity(key[start : len(key) - after], other[start : len(other) - after])


def enter(index: Table[str, tuple[str, ...]], key: str) -> None:
    """Let a text be found; entered again, it is the newest."""
    for slot in slots(key):
        held = index.get(slot) or ()
        if not held or held[-1] != key:
            index.put(slot, (*[other for other in held if other != key], key)[-SHARED:])


def leave(index: Table[str, tuple[str, ...]], key: str) -> None:
    """Let it be found no more."""
    for slot in slots(key):
        held = index.get(slot)
        if held is not None and key in held:
            left = tuple([other for other in held if other != key])
            if left:
                index.put(slot, left)
            else:
                index.drop(slot)
