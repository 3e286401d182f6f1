"""The reference of the configuration, made of its JSON Schema: every key with its type, default and meaning.

    python -m sidecar.config.reference > docs/configuration.md

A key's meaning is its docstring; `reference.yml` has the words for keys that have none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sidecar.channels import BY_KEY
from sidecar.config.durations import format_duration
from sidecar.config.schema import json_schema

TEXTS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "reference.yml").read_text("utf-8"))
SHARED = {"HttpConfig": "http_config"}  # told once, since every channel has it
STARS = "**********"
LONGEST_DEFAULT = 60  # characters; a longer one is told in words
TAKEN_OVER = "Taken over from Alertmanager, without effect: the sidecar writes its own messages."


class Row(NamedTuple):
    """One key: `path` is `section.key`, with `[]` for an item of a list and `<name>` for a free name."""

    path: str
    type: str
    default: str
    about: str


def rows(schema: dict[str, Any]) -> Iterator[Row]:
    """Every key of the file, sections first, then what is in them."""
    yield from _of_section(schema, "", schema["$defs"])
    for definition, path in SHARED.items():
        yield from _of_section(schema["$defs"][definition], path, schema["$defs"])


def _of_section(section: dict[str, Any], path: str, known: dict[str, Any]) -> Iterator[Row]:
    required = section.get("required", ())
    for key, field in section.get("properties", {}).items():
        yield from _of_field(f"{path}.{key}".lstrip("."), field, known, required=key in required)
    free = section.get("additionalProperties")
    if isinstance(free, dict) and section.get("properties"):
        yield from _of_field(f"{path}.<name>", free, known, required=False)


def _of_field(path: str, field: dict[str, Any], known: dict[str, Any], *, required: bool) -> Iterator[Row]:
    plain = next((one for one in field.get("anyOf", ()) if one.get("type") != "null"), field)
    suffix, inner = "", plain
    while "$ref" not in inner and isinstance(deeper := inner.get("items") or inner.get("additionalProperties"), dict):
        suffix, inner = suffix + ("[]" if "items" in inner else ".<name>"), deeper
    name = inner.get("$ref", "").rpartition("/")[2]
    default = "required" if required else _default(field.get("default"), plain, is_section=bool(name))
    yield Row(path, _type(plain), default, _about(path, field, known.get(name, {})))
    if name and name not in SHARED:
        yield from _of_section(known[name], path + suffix, known)


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"mapping of names to {_type(field['additionalProperties'])}"
    if field.get("writeOnly"):
        return "secret"
    if isinstance(field.get("type"), list):
        return "duration" if "pattern" in field else "size"
    return {"object": "mapping", None: "mapping" if "$ref" in field else "anything"}.get(
        field.get("type"), str(field.get("type"))
    )


def _default(value: Any, field: dict[str, Any], *, is_section: bool) -> str:
    if value is None or value in ("", STARS, [], {}) or is_section:
        return ""
    duration = isinstance(value, float) and "pattern" in field
    text = format_duration(value) if duration else yaml.safe_dump(value, default_flow_style=True, width=1000)
    text = text.removesuffix("\n...\n").strip()
    return f"`{text}`" if len(text) <= LONGEST_DEFAULT else "see below"


def _about(path: str, field: dict[str, Any], inner: dict[str, Any]) -> str:
    said = field.get("description", "")
    if not said or said.startswith(("a number and a unit", "bytes, or with a unit", "a file that holds")):
        said = TEXTS["keys"].get(path) or TEXTS["keys"].get("*." + path.rpartition(".")[2]) or said
    parent, _, key = path.rpartition(".")
    channel = BY_KEY.get(parent.removeprefix("receivers[].").removesuffix("[]"))
    if channel is not None and {key, f"{key}_"} & channel.Config.NO_EFFECT:
        return TAKEN_OVER
    if not said and key.endswith("_file"):
        said = f"A file that holds `{key.removesuffix('_file')}`."
    return said or inner.get("description", "")


def render(schema: dict[str, Any]) -> str:
    """The whole page, as Markdown: a table for each section of the file."""
    tables: dict[str, list[Row]] = {}
    for row in rows(schema):
        channel = next((f"receivers[].{key}[]" for key in BY_KEY if row.path.startswith(f"receivers[].{key}[]")), "")
        section = channel or row.path.split(".")[0].removesuffix("[]")
        tables.setdefault(section, []).append(row)
    return "\n".join([TEXTS["head"], *(_table(section, found) for section, found in tables.items())])


def _table(section: str, found: list[Row]) -> str:
    lines = [f"## `{section}`", "", *filter(None, [TEXTS["sections"].get(section, "")])]
    lines += ["", "| key | type | default | what it is |", "|---|---|---|---|"]
    for path, kind, default, about in found:
        cells = (f"`{path}`", kind, default, " ".join(about.split()))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render(json_schema()))
