"""Secrets from outside the file: `${NAME}` from the environment, and `*_file` from files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from sidecar.config.problems import Problem, Where, field_type, inside, models_in, path_of
from sidecar.errors import SidecarError

_VARIABLE = re.compile(r"\$\$|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(node: Any, env: Mapping[str, str], problems: list[Problem], where: Where = ()) -> Any:
    """Every string of the file with `${NAME}` replaced and `$$` as a plain `$`; what is not set is a problem."""
    if isinstance(node, dict):
        return {key: expand(value, env, problems, (*where, str(key))) for key, value in node.items()}
    if isinstance(node, list):
        return [expand(value, env, problems, (*where, index)) for index, value in enumerate(node)]
    if not isinstance(node, str) or "$" not in node:
        return node

    def replace(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "$"
        if not _NAME.fullmatch(name):
            problems.append((path_of(where), f"${{{name}}} names no environment variable", "write $$ for a plain $"))
        elif name not in env:
            problems.append(
                (path_of(where), f"the environment variable {name} is not set", f"set it: export {name}=...")
            )
        else:
            return env[name]
        return found[0]

    return _VARIABLE.sub(replace, node)


def from_environment(text: str, env: Mapping[str, str] | None = None) -> str:
    """An option of the command line with `${NAME}` replaced, as in the file. Raises SidecarError for what is not set."""
    problems: list[Problem] = []
    expanded = expand(text, os.environ if env is None else env, problems)
    if problems:
        raise SidecarError("; ".join(f"{wrong} ({hint})" for _, wrong, hint in problems))
    return str(expanded)


def read_files(
    model: type[BaseModel], node: dict[Any, Any], folder: Path, problems: list[Problem], where: Where = ()
) -> dict[Any, Any]:
    """The section with the content of `x_file` as `x`, wherever `x` is a secret; relative paths start at `folder`."""
    read: dict[Any, Any] = {}
    for key, value in node.items():
        plain = key.removesuffix("_file") if isinstance(key, str) else ""
        if plain != key and isinstance(value, str) and value and _holds_secret(field_type(model, plain)):
            if node.get(plain):
                problems.append((path_of((*where, key)), f"{plain} is given too", "keep one of them"))
            elif (secret := _content(folder / value, (*where, key), problems)) is not None:
                read[plain] = secret
        else:
            read[key] = _descend(field_type(model, str(key)), value, folder, problems, (*where, str(key)))
    return read


def _descend(annotation: Any, node: Any, folder: Path, problems: list[Problem], where: Where) -> Any:
    if isinstance(node, list):
        return [
            _descend(inside(annotation, index), item, folder, problems, (*where, index))
            for index, item in enumerate(node)
        ]
    if not isinstance(node, dict):
        return node
    section = next(models_in(annotation), None)
    if section is not None:
        return read_files(section, node, folder, problems, where)
    return {
        key: _descend(inside(annotation, str(key)), item, folder, problems, (*where, str(key)))
        for key, item in node.items()
    }


def _content(path: Path, where: Where, problems: list[Problem]) -> str | None:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        why = getattr(fault, "strerror", None) or "it is not text"
        problems.append((path_of(where), f"{path} cannot be read: {why}", "check the path and who may read it"))
        return None
    if not secret:
        problems.append((path_of(where), f"{path} is empty", "put the secret into it"))
        return None
    return secret


def _holds_secret(annotation: Any) -> bool:
    """Is it a SecretStr, optional or annotated?"""
    return SecretStr in _parts(annotation)


def _parts(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation
