"""What is wrong with a file, in words: each problem is (path in the file, what is wrong, what to write instead)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

Problem = tuple[str, str, str]
Where = tuple[str | int, ...]

# Keys that people bring along from Alertmanager's own file, and where their meaning lives here.
_MOVED = {
    "route": "Alertmanager keeps its routing tree; here `domains` and `time_based_routing` say who is told",
    "templates": "messages are rendered from the incident; Alertmanager's templates stay with Alertmanager",
    "mute_time_intervals": "write them under `time_intervals`, and name them as time_interval of a window",
    "active_time_intervals": "name them as time_interval of a window of `time_based_routing`",
    "webhook_url": "see the keys of this channel in the configuration reference",
}

_MAPPING = ("must be a mapping of keys to values", "indent its keys below it")
_LIST = ("must be a list", "write [a, b], or one item per line with a dash")
_PLAIN = {
    "missing": ("is required", "add it"),
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "tuple_type": _LIST,
    "list_type": _LIST,
}


class Wrong(ValueError):
    """A value that cannot stand, with what to write instead."""

    def __init__(self, wrong: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(wrong)


def path_of(where: Where) -> str:
    """("receivers", 2, "slack_configs") as `receivers[2].slack_configs`."""
    path = ""
    for step in where:
        path += f"[{step}]" if isinstance(step, int) else (f".{step}" if path else step)
    return path or "(the file)"


def did_you_mean(word: str, known: list[str], cutoff: float = 0.6) -> str:
    """The nearest known word as a question, else the list of them."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    if near:
        return f"did you mean {near[0]!r}?"
    return "known: " + ", ".join(sorted(known)) if known else ""


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models a field can hold directly (through Annotated and optional, not through lists)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from models_in(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from models_in(part)


def inside(annotation: Any, step: str | int) -> Any:
    """The annotation one step into a value: a model's field, a list's element, a dict's value; None when unknown."""
    for model in models_in(annotation):
        return field_type(model, str(step))
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return inside(parts[0], step)
    if origin in (Union, UnionType):
        return next((found for part in parts if (found := inside(part, step)) is not None), None)
    if origin in (list, tuple) and parts and isinstance(step, int):
        return parts[0]
    if origin is dict and isinstance(step, str):
        return parts[1]
    return None


def field_type(model: type[BaseModel], key: str) -> Any:
    """The annotation of a key as written in the file (its alias), else that of the model's free keys, else None."""
    for name, field in model.model_fields.items():
        if key == name or key in _written(name, field):
            return field.annotation
    return getattr(model, "FREE_KEYS", None)


def _written(name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias] if isinstance(alias, str) else [field.alias or name]


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a section as written in the file."""
    return [key for name, field in model.model_fields.items() for key in _written(name, field)]


def explain(error: ValidationError, model: type[BaseModel], raw: Any) -> list[Problem]:
    """Pydantic's errors in our words, each with its path in the file `raw` was read from."""
    return [_explained(detail, model, raw) for detail in error.errors(include_url=False)]


def _explained(detail: ErrorDetails, model: type[BaseModel], raw: Any) -> Problem:
    where = _in_file(detail["loc"], raw, keep_last=detail["type"] == "missing")
    path, kind, context = path_of(where), detail["type"], detail.get("ctx", {})
    if kind in _PLAIN:
        return path, *_PLAIN[kind]
    message = detail["msg"]
    wrong, hint = message[0].lower() + message[1:], ""
    if kind == "extra_forbidden":
        wrong, hint = "unknown key", _unknown(str(where[-1]), _section(model, where[:-1]))
    elif kind == "literal_error":
        wrong = f"must be one of {context['expected']}"
    elif kind == "value_error":
        wrong, hint = str(context["error"]), getattr(context["error"], "hint", "")
    elif kind == "string_type":
        wrong, hint = "must be text", _why_no_text(detail["input"])
    return path, wrong, hint


def _why_no_text(given: Any) -> str:
    """YAML's usual traps: a # starts a comment, and bare numbers, yes and no are no text."""
    return 'a value that begins with # needs quotes: "#alerts"' if given is None else "put it in quotes"


def _in_file(loc: Where, raw: Any, *, keep_last: bool) -> Where:
    """Pydantic's location without the steps that are no part of the file (names of a union's branches, "[key]")."""
    where: list[str | int] = []
    for place, step in enumerate(loc):
        known = (isinstance(raw, dict) and step in raw) or (
            isinstance(raw, list) and isinstance(step, int) and step < len(raw)
        )
        if known:
            raw = raw[step]
        if known or (keep_last and place == len(loc) - 1):
            where.append(step)
    return tuple(where)


def _section(model: type[BaseModel], where: Where) -> type[BaseModel] | None:
    annotation: Any = model
    for step in where:
        annotation = inside(annotation, step)
    return next(models_in(annotation), None)


def _unknown(key: str, section: type[BaseModel] | None) -> str:
    if key in _MOVED and (section is None or not difflib.get_close_matches(key, keys_of(section), cutoff=0.8)):
        return _MOVED[key]
    return did_you_mean(key, keys_of(section)) if section else ""
