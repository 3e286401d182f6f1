"""One self-contained HTML page from a template: nothing is loaded, and no text from outside becomes markup.

Its policy lets only the page's own scripts run, by their hash, and forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sidecar.config.durations import format_duration

UNKNOWN: Final = "not measured"


def render(template: str, *, scripts: tuple[str, ...] = (), package: str = "sidecar.reports", **values: Any) -> str:
    """The page; `scripts` are JavaScript texts of ours, run in this order."""
    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("sidecar.reports", ".")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "percent": percent,
        "share": spell_share,
        "moment": moment,
        "span": span,
        "safe_url": safe_url,
    }
    closed = [script.replace("</script", "<\\/script") for script in scripts]
    return environment.get_template(template).render(
        scripts=[Markup(script) for script in closed],  # noqa: S704 -- our own, and unable to end their element
        hashes=[_hash(script) for script in closed],
        **values,
    )


def _hash(script: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"


def percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.1f} %"


def spell_share(found: dict[str, Any]) -> str:
    """A share of `training.evaluate.share` with its bounds."""
    if found["share"] is None:
        return UNKNOWN
    return f"{percent(found['share'])} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def span(seconds: float) -> str:
    return format_duration(seconds if seconds < 10 else round(seconds))


def safe_url(url: str) -> str:
    """The URL if a browser may follow it, else nothing: `javascript:` is a URL too."""
    return url if url.startswith(("http://", "https://")) else ""
