"""What `sidecar check-config` says: every mistake, or what the file means in a few lines and what will surprise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sidecar.config.load import load
from sidecar.config.notices import warnings
from sidecar.config.root import Config
from sidecar.errors import ConfigError


def check(path: str | Path, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """(exit code, text): 1 with one line per mistake, or 0 with a summary and warnings."""
    try:
        config = load(path, env)
    except ConfigError as fault:
        count = len(fault.problems)
        lines = [f"{where}: {wrong}" + (f" ({hint})" if hint else "") for where, wrong, hint in fault.problems]
        return 1, "\n".join([f"{path}: {count} mistake{'s' * (count > 1)}", *(f"  {line}" for line in lines)])
    found = warnings(config)
    lines = [f"{path}: OK", *summary(config)]
    if found:
        lines.append(f"{len(found)} warning{'s' * (len(found) > 1)}:")
        lines += [f"  {where}: {sentence}" for where, sentence in found]
    return 0, "\n".join(lines)


def summary(config: Config) -> list[str]:
    """What the configuration amounts to, a line each."""
    receivers = [
        f"{one.name} ({', '.join(dict.fromkeys(name for name, _, _ in one.blocks())) or 'nothing'})"
        for one in config.receivers
    ]
    timing = config.time_based_routing
    resting = [window.name for window in timing.maintenance_windows]
    return [
        f"  mode:         {config.mode}",
        f"  receivers:    {', '.join(receivers)}; default: {config.default}",
        f"  domains:      {', '.join(config.domains)}",
        f"  windows:      {', '.join(timing.windows) or 'none: everything goes to the default receiver'}",
        f"  maintenance:  {', '.join(resting) or 'none'}",
        f"  rules:        {len(config.inhibit_rules)} inhibition rules (written by render-alertmanager)",
        f"  suppression:  {_suppression(config)}",
    ]


def _suppression(config: Config) -> str:
    if config.mode == "shadow" or not config.auto_suppress:
        return "none"
    bar = f"from a score of {config.confidence_threshold:g}"
    return bar if config.mode == "auto" else f"{bar}, of alertnames that votes have proven noise"
