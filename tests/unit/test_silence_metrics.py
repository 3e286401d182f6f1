"""What /metrics says of silences: how many stand, what they hide now, and what they hid."""

from __future__ import annotations

from sidecar.telemetry import Metrics
from tests.unit.test_silences import silenced


def test_what_silences_hide_is_shown_and_counted_at_their_end():
    """By whom: ours and people's are two things."""
    world, metrics = silenced(), Metrics()
    sample = metrics.registry.get_sample_value
    world.mute("s1", by="alertmanager-sidecar", instance="x")
    world.mute("s2", by="ada", alertname="DiskFull", instance="y")
    metrics.silenced(world.state)
    assert sample("sidecar_silences_active") == 1
    assert sample("sidecar_silenced_alerts", {"by": "us"}) == 1
    assert sample("sidecar_silenced_alerts", {"by": "people"}) == 1
    metrics.planned(world.tick(86_400))
    assert sample("sidecar_silence_hidden_alerts_total") == 1
    assert sample("sidecar_silences_ended_total", {"why": "expired"}) == 1
    metrics.silenced(world.state)
    assert sample("sidecar_silences_active") == 0
    assert sample("sidecar_silenced_alerts", {"by": "us"}) == 0
