"""Receivers: a name and, under Alertmanager's keys, the blocks of each channel. The registry of channels says which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, create_model

from sidecar.channels import BY_KEY
from sidecar.channels.settings import ChannelConfig
from sidecar.config.fields import Section
from sidecar.config.problems import Wrong
from sidecar.domain import DeliveryKind


def _name(name: str) -> str:
    if not name.strip() or "/" in name:
        raise Wrong(f"{name!r} is no receiver's name", "write one without a slash: it is part of the targets' names")
    return name


class Receiver(Section):
    """Somebody to tell, by one or several blocks of one or several channels."""

    name: Annotated[str, AfterValidator(_name)]

    def blocks(self) -> tuple[tuple[str, str, ChannelConfig], ...]:
        """(channel's name, target `receiver/channel/index`, its block) of each, in the registry's order."""
        return tuple(
            (channel.name, f"{self.name}/{channel.name}/{index}", block)
            for key, channel in BY_KEY.items()
            for index, block in enumerate(getattr(self, key))
        )

    def kinds(self) -> tuple[tuple[str, frozenset[DeliveryKind]], ...]:
        """(target, what it is worth sending there) of each block."""
        by_name = {channel.name: channel.kinds for channel in BY_KEY.values()}
        return tuple(
            (target, by_name[channel] if block.send_resolved else by_name[channel] - {"resolve"})
            for channel, target, block in self.blocks()
        )


if TYPE_CHECKING:
    AnyReceiver = Receiver
else:
    AnyReceiver = create_model(
        "AnyReceiver",
        __base__=Receiver,
        __doc__=Receiver.__doc__,
        **{key: (tuple[channel.Config, ...], ()) for key, channel in BY_KEY.items()},
    )
"""A receiver with one list per registered channel."""

# Alertmanager's `global:` key, the block it fills in, the key there, and keys that already say it
_DEFAULTS = (
    ("smtp_from", "email_configs", "from", ()),
    ("smtp_smarthost", "email_configs", "smarthost", ()),
    ("smtp_hello", "email_configs", "hello", ()),
    ("smtp_auth_username", "email_configs", "auth_username", ()),
    ("smtp_auth_password", "email_configs", "auth_password", ("auth_password_file",)),
    ("smtp_require_tls", "email_configs", "require_tls", ()),
    ("slack_app_token", "slack_configs", "bot_token", ("app_token", "api_url", "api_url_file", "bot_token_file")),
    ("slack_api_url", "slack_configs", "api_url", ("api_url_file", "bot_token", "bot_token_file", "app_token")),
    ("pagerduty_url", "pagerduty_configs", "url", ("api_url",)),
)


def fill_in(receivers: Any, defaults: Any) -> Any:
    """The raw receivers with `global:`'s values where a block leaves them out; anything malformed stays as it is."""
    if not isinstance(receivers, list) or not isinstance(defaults, dict):
        return receivers
    return [_filled(receiver, defaults) if isinstance(receiver, dict) else receiver for receiver in receivers]


def _filled(receiver: dict[Any, Any], defaults: dict[Any, Any]) -> dict[Any, Any]:
    filled = dict(receiver)
    for source, section, key, instead in _DEFAULTS:
        blocks = filled.get(section)
        if source in defaults and isinstance(blocks, list):
            filled[section] = [
                {key: defaults[source], **block}
                if isinstance(block, dict) and not any(other in block for other in instead)
                else block
                for block in blocks
            ]
    return filled
