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
from sidecar.config import notices
from sidecar.config.durations import format_duration
from sidecar.config.schema import json_schema

TEXTS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "reference.yml").read_text("utf-8"))
SHARED = {"HttpConfig": "http_config"}  # told once, since every channel has it
MIB = 1024 * 1024
STARS = "**********"
END = "...\n"  # what YAML writes after a plain value
LATER = [path for path, _ in notices._LATER]  # noqa: SLF001 - says it to check-config's readers too
PLAIN = ("a number and a unit", "bytes, or with a unit")  # what a type says of itself
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
    fields = section.get("properties", {})
    for key, field in fields.items():
        plain = key.removesuffix("_file")
        file = {"description": f"A file that holds `{plain}`."} if plain != key and plain in fields else {}
        yield from _of_field(f"{path}.{key}".lstrip("."), field | file, known, required=key in required)
    free = section.get("additionalProperties")
    if isinstance(free, dict) and fields:
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
    choices = [f"`{value}`" for value in field.get("enum", ())] or [_type(one) for one in field.get("anyOf", ())]
    if choices:
        return " or ".join(choices)
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"mapping of names to {_type(field['additionalProperties'])}"
    if field.get("writeOnly"):
        return "secret"
    if isinstance(field.get("type"), list):
        return "duration" if "pattern" in field else "size"
    names = {"object": "mapping", None: "mapping" if "$ref" in field else "anything"}
    return names.get(field.get("type"), str(field.get("type")))


def _default(value: Any, field: dict[str, Any], *, is_section: bool) -> str:
    if value is None or value in ("", STARS, [], {}) or is_section:
        return ""
    text = yaml.safe_dump(_readable(value, field), default_flow_style=True, width=1000)
    return f"`{text.removesuffix(END).strip()}`"


def _readable(value: Any, field: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _readable(one, field["additionalProperties"]) for name, one in value.items()}
    kind = _type(field)
    if kind == "size" and value % MIB == 0:
        return f"{value // MIB}MiB"
    return format_duration(value) if kind == "duration" and isinstance(value, float) else value


def _about(path: str, field: dict[str, Any], inner: dict[str, Any]) -> str:
    parent, _, key = path.rpartition(".")
    channel = BY_KEY.get(parent.removeprefix("receivers[].").removesuffix("[]"))
    if channel is not None and {key, f"{key}_"} & channel.Config.NO_EFFECT:
        return TAKEN_OVER
    said = field.get("description", "")
    if not said or said.startswith(PLAIN):
        said = TEXTS["keys"].get(path) or TEXTS["keys"].get(f"*.{key}") or inner.get("description", "")
    bare = path.replace("[]", "")
    later = any(bare == early or bare.startswith(f"{early}.") for early in LATER)
    return f"{said} No effect yet.".strip() if later else said


def render(schema: dict[str, Any]) -> str:
    """The whole page, as Markdown: a table for each section of the file."""
    tables: dict[str, list[Row]] = {}
    for row in rows(schema):
        channel = next((f"receivers[].{key}[]" for key in BY_KEY if row.path.startswith(f"receivers[].{key}[]")), "")
        section = channel or row.path.split(".")[0].removesuffix("[]")
        tables.setdefault(section, []).append(row)
    return "\n".join([TEXTS["head"], *(_table(section, found) for section, found in tables.items())])


def _table(section: str, found: list[Row]) -> str:
    words = TEXTS["sections"].get(section)
    lines = [f"## `{section}`", "", *((words, "") if words else ())]
    lines += ["| key | type | default | what it is |", "|---|---|---|---|"]
    for path, kind, default, about in found:
        cells = (f"`{path}`", kind, default, " ".join(about.split()))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render(json_schema()))
