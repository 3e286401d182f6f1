"""What sections are made of: their base, and values that check themselves."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, SecretStr

from sidecar.calendar import Cron, Schedule
from sidecar.config.problems import Wrong, did_you_mean
from sidecar.domain import severity_of


class Section(BaseModel):
    """One mapping of the file: immutable, and a key it does not know is an error, so that nothing is silently ignored."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
        validate_by_alias=True,
        validate_by_name=True,
    )


def check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError is ZoneInfoNotFoundError, OSError a folder such as "America"
        hint = did_you_mean(name, list(available_timezones()), cutoff=0.8)
        raise Wrong(f"{name!r} is no time zone", hint if "did you" in hint else 'write e.g. "Europe/Berlin"') from None
    return name


def _cron(text: str) -> str:
    try:
        Cron.parse(text)
    except ValueError as fault:
        raise Wrong(str(fault), 'write e.g. "0 0 * * *" for every midnight') from None
    return text


def _schedule(text: str) -> str:
    try:
        Schedule.parse(text)
    except ValueError as fault:
        raise Wrong(str(fault), 'write e.g. "0 9-17 * * 1-5" for Monday to Friday, 9:00 to 17:00') from None
    return text


def _http_url(url: str) -> str:
    if not re.match(r"https?://[^/\s@]+(?:/\S*)?$", url):
        raise Wrong("not an http(s) URL without credentials", 'write e.g. "http://127.0.0.1:9093"')
    return url.rstrip("/")


def _secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise Wrong("is empty", "leave the key out, or check the variable or file it comes from")
    return value


def _masked(url: str) -> str:
    """A URL with its password as stars."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:**********@", url)


def check_label(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
        raise Wrong(f"{name!r} is not a label name", "letters, digits and _")
    return name


ZoneName = Annotated[str, AfterValidator(check_zone)]
CronText = Annotated[str, AfterValidator(_cron)]
ScheduleText = Annotated[str, AfterValidator(_schedule)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
LabelName = Annotated[str, AfterValidator(check_label)]
StoreUrl = Annotated[str, PlainSerializer(_masked, return_type=str)]
SeverityName = Annotated[str, AfterValidator(lambda name: severity_of({"severity": name}))]
"""A severity as written in labels, kept in capitals and with its synonyms folded, as alerts' are."""


def _once(given: Any) -> Any:
    names = [severity_of({"severity": str(name)}) for name in given] if isinstance(given, dict) else []
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Wrong(f"{', '.join(twice)} is there twice, in different spellings", "keep one of them")
    return given


Value = TypeVar("Value")
BySeverity = Annotated[dict[SeverityName, Value], BeforeValidator(_once)]
