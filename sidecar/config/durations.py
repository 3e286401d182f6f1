"""Durations ("30s", "1h30m", "90d") and sizes ("32MiB"), as people write them and as numbers."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from sidecar.config.problems import Wrong

_SECONDS = {"y": 31_536_000.0, "w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[ywdhms])")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[ywdhms]))+")
LONGEST = 100 * _SECONDS["y"]  # a moment this far away still has a date
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMG]i?B?|B?)")
_FACTORS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def parse_duration(value: Any) -> float:
    """Seconds of "30s", "5m", "1h30m", "4h", "90d", "2w"; a bare 0 is nothing, any other bare number has no unit."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if isinstance(value, float) and 0 <= value <= LONGEST:  # a default, or a value that was read before
        return value
    text = str(value).strip()
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        hint = (
            f'did you mean "{text}s"?' if text.isdigit() else 'write a number and a unit: "30s", "5m", "1h30m", "90d"'
        )
        raise Wrong(f"{text!r} is not a duration", hint)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if seconds > LONGEST:
        raise Wrong("is longer than 100 years", 'write at most "100y"')
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest usual text: 5400.0 is "1h30m"."""
    left, words = round(seconds * 1000), ""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, length)
        words += f"{count}{unit}" if count else ""
    return words or "0s"


def parse_size(value: Any) -> int:
    """Bytes of "32MiB", "500kB", 1048576."""
    match = _SIZE.fullmatch(str(value).strip())
    if isinstance(value, bool) or not match:
        raise Wrong(f"{value!r} is not a size", 'write bytes, or a number and a unit: "32MiB", "500kB"')
    unit = match[2].removesuffix("B").replace("K", "k")
    return int(float(match[1]) * _FACTORS[unit])


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": r"^(0|(\d+(\.\d+)?(ms|[ywdhms]))+)$",
            "maximum": 0,
            "description": "a number and a unit, e.g. 30s, 5m, 1h30m, 4h, 90d",
        }
    ),
]
"""A span of time: seconds as float in memory, "1h30m" in the file."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": ["string", "integer"], "description": "bytes, or with a unit, e.g. 32MiB"}),
]
"""Bytes in memory, "32MiB" in the file."""
