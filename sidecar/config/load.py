"""A YAML file to a `Config`, or every problem of it at once."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sidecar.config.problems import Problem, Where, did_you_mean, explain, path_of
from sidecar.config.root import Config
from sidecar.config.secrets import expand, read_files
from sidecar.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key that is there twice is a mistake, since one of the two would be silently ignored.

    And in which 17:00 and 1:5 are text, as they are to Alertmanager: YAML 1.1 would read them as numbers to the base 60.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is there twice", key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


_UNKEPT = re.compile("[\x00\ud800-\udfff]")
_WITHOUT_SIXTIES = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+"),
    "tag:yaml.org,2002:float": re.compile(
        r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    ),
}
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, re.compile(f"(?:{_WITHOUT_SIXTIES[tag].pattern})$") if tag in _WITHOUT_SIXTIES else found)
        for tag, found in known
    ]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: str | Path, env: Mapping[str, str] | None = None) -> Config:
    """Read and check a file. `env` is where `${NAME}` comes from, by default the process's environment.

    Raises ConfigError with all problems at once.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        why = getattr(fault, "strerror", None) or "it is not UTF-8"
        raise ConfigError([(str(file), f"cannot be read: {why}", "name the file: --config FILE")]) from None
    return loads(text, env, file.parent)


def loads(text: str, env: Mapping[str, str] | None = None, folder: Path = Path()) -> Config:
    """As `load`, from text; `*_file` paths start at `folder`."""
    problems: list[Problem] = []
    try:
        raw = _raw(text)
        problems += _unkept(raw)
        expanded = expand(raw, os.environ if env is None else env, problems)
    except RecursionError:
        raise ConfigError([("(the file)", "is nested without end", "look for a [ or an *alias too many")]) from None
    unset = {path for path, _, _ in problems}
    complete = read_files(Config, expanded, folder, problems)
    problems += _dangling(complete)
    try:
        config = Config.model_validate(complete)
    except ValidationError as fault:
        problems += [problem for problem in explain(fault, Config, complete) if problem[0] not in unset]
    else:
        problems = problems or list(_endless(config))
        if not problems:
            return config
    raise ConfigError(sorted(set(problems), key=lambda problem: _line(text, problem)))


def _line(text: str, problem: Problem) -> tuple[int, str]:
    """Problems in the order of the file's sections."""
    section = problem[0].split(".")[0].split("[")[0]
    place = text.find(f"\n{section}:")
    return (place if place >= 0 else -1), problem[0]


def _raw(text: str) -> dict[Any, Any]:
    try:
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "(the file)"
        raise ConfigError([(where, f"not YAML: {fault.problem or fault.context}", _yaml_hint(fault))]) from None
    except yaml.YAMLError as fault:
        raise ConfigError([("(the file)", f"not YAML: {fault}", "save it as UTF-8 text")]) from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError([("(the file)", "must be a mapping of keys to values", "write e.g. mode: shadow")])
    return raw


def _unkept(node: Any, where: Where = ()) -> Iterator[Problem]:
    """Text that no database takes: it would come up again in reasons and titles, and no alert with it could be stored."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _unkept(key, where)
            yield from _unkept(value, (*where, str(key)))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _unkept(value, (*where, index))
    elif isinstance(node, str) and _UNKEPT.search(node):
        yield path_of(where) or "(the file)", "has a NUL or half a character in it", "take the escape out of the text"


def _yaml_hint(fault: yaml.MarkedYAMLError) -> str:
    said = str(fault.problem)
    if "twice" in said:
        return "keep one of them: the other would be ignored"
    if "\\t" in said or "'\\t'" in said:
        return "indent with spaces"
    return "check indentation, colons and quotes there"


# ------------------------------------------------------------------------------------------------------------- references
# Names that have to exist elsewhere in the file. Read from the raw file, so that they are found beside other mistakes.


def _dangling(raw: dict[Any, Any]) -> list[Problem]:
    receivers = raw.get("receivers") or []
    listed = receivers if isinstance(receivers, list) else []
    names = [one.get("name") if isinstance(one, dict) else None for one in listed]
    known = [name for name in names if isinstance(name, str)] or ["default"]
    problems: list[Problem] = [
        (f"receivers[{index}].name", f"{name!r} is there twice", "give every receiver its own name")
        for index, name in enumerate(names)
        if name is not None and name in names[:index]
    ]
    problems += _intervals(raw)
    default = raw.get("default_receiver")
    if isinstance(default, str) and default not in known:
        problems.append(("default_receiver", f"there is no receiver {default!r}", did_you_mean(default, known)))
    digest = raw.get("digest")
    named = digest.get("receivers") if isinstance(digest, dict) else None
    problems += [
        ("digest.receivers", f"there is no receiver {name!r}", did_you_mean(name, known))
        for name in (named if isinstance(named, list) else [named])
        if isinstance(name, str) and name not in known
    ]
    domains = raw.get("domains")
    for domain, body in domains.items() if isinstance(domains, dict) else ():
        roles = body.get("roles") if isinstance(body, dict) else None
        for role, name in roles.items() if isinstance(roles, dict) else ():
            if isinstance(name, str) and name not in known:
                path = f"domains.{domain}.roles.{role}"
                problems.append((path, f"there is no receiver {name!r}", did_you_mean(name, known)))
    return problems


def _intervals(raw: dict[Any, Any]) -> Iterator[Problem]:
    """Time intervals that are there twice, and windows that name one that is not there."""
    listed = raw.get("time_intervals")
    named = [one.get("name") if isinstance(one, dict) else None for one in (listed if isinstance(listed, list) else [])]
    known = [name for name in named if isinstance(name, str)]
    for index, name in enumerate(named):
        if name is not None and name in named[:index]:
            yield f"time_intervals[{index}].name", f"{name!r} is there twice", "give every interval its own name"
    for path, window in _windows(raw.get("time_based_routing")):
        wanted = window.get("time_interval")
        for name in [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, list) else []:
            if isinstance(name, str) and name not in known:
                hint = did_you_mean(name, known) or "write it under time_intervals"
                yield f"{path}.time_interval", f"there is no time interval {name!r}", hint


def _windows(timing: Any) -> Iterator[tuple[str, dict[Any, Any]]]:
    if not isinstance(timing, dict):
        return
    for name, window in timing.items():
        if isinstance(window, dict):
            yield f"time_based_routing.{name}", window
        for index, resting in enumerate(window if name == "maintenance_windows" and isinstance(window, list) else ()):
            if isinstance(resting, dict):
                yield f"time_based_routing.maintenance_windows[{index}]", resting


def _endless(config: Config) -> Iterator[Problem]:
    """Maintenance windows that time intervals never close."""
    for index in config.endless_maintenance:
        path = f"time_based_routing.maintenance_windows[{index}].time_interval"
        yield path, "never closes: what it suppresses would never be told", "give the interval times, or days"
