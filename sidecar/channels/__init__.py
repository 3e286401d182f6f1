"""The ways to reach people. To add one: a file with its `Config`, `render` and `interpret`, a line here, its tests."""

from __future__ import annotations

from typing import Any

from sidecar.channels.base import Channel
from sidecar.channels.email import Email
from sidecar.channels.log import Log
from sidecar.channels.msteams import MsTeams
from sidecar.channels.pagerduty import PagerDuty
from sidecar.channels.silence import Silence
from sidecar.channels.slack import Slack
from sidecar.channels.webhook import Webhook

SILENCE = Silence()  # not a receiver's: it is configured with Alertmanager's URL
CHANNELS: tuple[Channel[Any, Any], ...] = (Slack(), PagerDuty(), Email(), MsTeams(), Webhook(), Log(), SILENCE)

BY_NAME: dict[str, Channel[Any, Any]] = {channel.name: channel for channel in CHANNELS}
BY_KEY: dict[str, Channel[Any, Any]] = {
    channel.config_key: channel for channel in CHANNELS if channel is not SILENCE
}  # the keys a receiver may have
