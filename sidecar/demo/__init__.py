"""The demonstration: act one replays a real alert history, act two serves on loopback and shows live alerts."""

from __future__ import annotations


def run(*, act: str = "both", leave: bool = False) -> int:
    """Play it; `leave` ends by itself. Returns non-zero if anything was lost."""
    from sidecar.demo import live, past  # noqa: PLC0415 - each act imports what it needs

    lost = 0
    if act in ("1", "both"):
        lost += past.play()
    if act in ("2", "both"):
        lost += live.play(leave=leave)
    return 1 if lost else 0
