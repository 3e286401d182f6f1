"""What metrics did around an alert's start, on every channel for people."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest
from msgspec.structs import replace

from sidecar.channels import BY_NAME, email
from tests.messages import make_config, make_line, make_message

SAID = "cpu: 0.31 usually (30 min before), 0.97 at the start"


def shown(name: str, *context: str) -> str:
    """All that one channel sends for a message."""
    message = make_message(lines=2)
    changed = replace(message, lines=(make_line(context=context), *message.lines[1:]))
    config = make_config(name)
    if name == "email":
        mail = message_from_bytes(email.compose(changed, config), policy=policy.default)
        return "".join(part.get_content() for part in mail.walk() if part.get_content_maintype() == "text")
    steps = BY_NAME[name].render(changed, config, "")
    return "".join(getattr(step, "text", "") or getattr(step, "body", b"").decode() for step in steps)


@pytest.mark.parametrize(
    ("name", "times"), [("slack", 1), ("pagerduty", 1), ("email", 2), ("msteams", 1), ("webhook", 1), ("log", 1)]
)
def test_every_channel_says_it_with_its_alert(name: str, times: int) -> None:
    """Once for the alert that it is about, a mail in each of its two parts; and nothing where there is nothing."""
    assert shown(name, SAID, "memory: no data").count(SAID) == times
    assert "memory: no data" in shown(name, SAID, "memory: no data")
    bare = shown(name)
    assert "usually (" not in bare
    assert "around_the_start" not in bare
    assert '"context"' not in bare or name == "slack"  # Slack has blocks of that name
