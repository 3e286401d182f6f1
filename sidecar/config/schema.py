"""The JSON Schema of the file, for editors."""

from __future__ import annotations

from typing import Any

from sidecar.config.root import Config

# Keys that `global:` may fill in: a file without them can be complete.
_FILLED = {"from", "smarthost"}


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the configuration. Every secret `x` may also be given as `x_file`."""
    schema = Config.model_json_schema(by_alias=True, mode="validation")
    for section in (schema, *schema.get("$defs", {}).values()):
        _take_files(section)
    title = "Configuration of the Alertmanager sidecar"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


def _take_files(section: dict[str, Any]) -> None:
    """Add `x_file` beside every secret, and require nothing that a file or `global:` may give."""
    properties = section.get("properties", {})
    secrets = [name for name, field in properties.items() if _is_secret(field)]
    for name in secrets:
        properties.setdefault(f"{name}_file", {"type": "string", "description": f"a file that holds {name}"})
    required = [name for name in section.get("required", ()) if name not in (*secrets, *_FILLED)]
    section.pop("required", None)
    if required:
        section["required"] = required


def _is_secret(field: dict[str, Any]) -> bool:
    return bool(field.get("writeOnly")) or any(_is_secret(choice) for choice in field.get("anyOf", ()))
