"""The section `digest`: when what was kept back is summed up, for whom, and how people answer it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import Field
from pydantic.functional_validators import BeforeValidator

from sidecar.config.fields import CronText, Secret, Section, ZoneName

ReceiverNames = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]


class Digest(Section):
    """A summary of what was held and cleared, suppressed or not sent, for the receivers it was kept back from.

    It is sent when there is something to say. The pager takes none: what is kept back from it goes to the default receiver.
    """

    enabled: bool = True
    """`false`: no digest, and nothing is said of silences either."""
    schedule: CronText = "0 9 * * *"
    """When, as cron: every day at 9:00."""
    timezone: ZoneName = "UTC"
    """Of both schedules, and of the times in the text; by default that of `time_based_routing.business_hours`."""
    receivers: ReceiverNames = ()
    """Who gets everything that was kept back from anybody; by default each receiver gets its own."""
    lines: int = Field(default=20, ge=1, le=100)
    """The most lines of one digest, one for each alertname, namespace, service and severity; channels may show fewer."""
    review: CronText | None = "0 9 * * 1"
    """When the silences of the sidecar are reviewed; `null` for never."""
    link_key: Secret | None = None
    """Signs the links by which people answer; without it `server.api_secret` does, or `server.webhook_secret`. Links need
    `server.external_url` too."""

    def takes(self, receiver: str, able: Collection[str], default: str) -> tuple[str, ...]:
        """Who is told of what was kept back from `receiver`, among those `able` to take a digest; maybe nobody."""
        wanted = self.receivers or ((receiver,) if receiver in able else (default,))
        return tuple([name for name in wanted if name in able])
