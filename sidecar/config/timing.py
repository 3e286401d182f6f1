"""When windows are open and who is told then: `time_based_routing`, under the specification's own keys (3.2)."""

from __future__ import annotations

from math import inf
from typing import Annotated, Any, ClassVar, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from sidecar.calendar import Schedule
from sidecar.config.fields import BySeverity, ScheduleText, Section, SeverityName, ZoneName
from sidecar.config.problems import Wrong

_ONE_OR_MORE = {"anyOf": [{"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "string"}]}


def _names(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


class Timed(Section):
    """What opens and closes: by a schedule, or by Alertmanager's time intervals."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["schedule"]}, {"required": ["time_interval"]}]}
    )
    schedule: ScheduleText | None = None
    """Hours and days as in cron, e.g. "0 9-17 * * 1-5"."""
    time_interval: Annotated[tuple[str, ...], BeforeValidator(_names), WithJsonSchema(_ONE_OR_MORE)] = ()
    """Instead of `schedule`: the name of one of `time_intervals`, or a list of them, of which one has to contain the moment."""
    timezone: ZoneName | None = None
    """By default that of business_hours, else UTC; with `time_interval`, of intervals without a location, else UTC."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.schedule is None) == (not self.time_interval):
            wrong = "has both schedule and time_interval" if self.time_interval else "has no schedule"
            raise Wrong(wrong, 'write schedule: "0 9-17 * * 1-5", or time_interval with a name of `time_intervals`')
        return self


class Window(Timed):
    """Who is told about which severity while the window is open (3.2)."""

    routes: BySeverity[tuple[str, ...]]
    """Roles by severity. [] delivers nothing; a severity that is not listed goes to the default receiver."""


class MaintenanceWindow(Timed):
    """A time in which some severities rest (3.2)."""

    name: str
    suppress: tuple[SeverityName, ...] = ()
    override_routes: BySeverity[tuple[str, ...]] = Field(default={})
    """Roles by severity, instead of the open window's."""

    @field_validator("schedule")
    @classmethod
    def _closes(cls, schedule: str | None) -> str | None:
        if schedule is not None and Schedule.parse(schedule).ends(0.0, ZoneInfo("UTC")) == inf:
            raise Wrong("never closes: what it suppresses would never be told", 'write its hours, e.g. "0 2-4 * * 0"')
        return schedule


class TimeBasedRouting(Section):
    """Named windows, the first open one counts, and maintenance windows, which come before them (3.2)."""

    model_config = ConfigDict(extra="allow")
    FREE_KEYS: ClassVar[type[Section]] = Window
    __pydantic_extra__: dict[str, Window] = Field(init=False)
    maintenance_windows: tuple[MaintenanceWindow, ...] = ()

    @property
    def windows(self) -> dict[str, Window]:
        """The named windows, in the order of the file."""
        return self.__pydantic_extra__

    @property
    def zone(self) -> str:
        """The time zone of windows that name none."""
        usual = self.windows.get("business_hours")
        return (usual.timezone if usual else None) or "UTC"
