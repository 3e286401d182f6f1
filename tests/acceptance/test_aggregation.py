"""The specification's aggregation rules (3.3), pasted unchanged, with a real Alertmanager."""

from __future__ import annotations

from typing import Any

import yaml

from tests.acceptance.world import World, alert, within
from tests.unit.config.samples import SPECIFICATION

RULES = yaml.safe_load(SPECIFICATION)["aggregation_rules"]
WHERE = {"severity": "WARNING", "domain": "artemis", "cluster": "eu"}


def failing(pod: str) -> dict[str, Any]:
    """A pod of a service of its own, so that Alertmanager makes a group of it."""
    notes = {"summary": f"Pod {pod} in namespace shop is failing"}
    return alert("PodFailing", notes=notes, namespace="shop", pod=pod, service=pod, instance=f"node-{pod}", **WHERE)


def titles(world: World) -> list[str]:
    """What each message shows now, edits included, as its first 200 characters."""
    return [message.shown[:200] for message in world.slack.messages]


async def test_from_the_third_pod_on_there_is_one_message_and_the_others_are_closed(world):
    """Below the threshold pods are told as usual; then one message has them, and says so."""
    await world.start(aggregation_rules=RULES)
    for pod in ("cart", "pay"):
        await world.alertmanager.post([failing(pod)])
    await within(30, lambda: len(world.slack.messages) == 2)
    assert not any("Multiple pods" in shown for shown in titles(world))

    await world.alertmanager.post([failing("search")])

    await within(30, lambda: any("Multiple pods failing in shop" in shown for shown in titles(world)[2:]))
    await within(
        30, lambda: sum("goes on in: Multiple pods failing in shop" in m.shown for m in world.slack.messages) == 2
    )
    await world.alertmanager.post([failing("stock")])
    await within(30, lambda: "node-stock" in world.slack.messages[2].shown or "stock" in world.slack.messages[2].shown)
    assert len(world.slack.messages) == 3


async def test_ten_errors_of_an_endpoint_are_one_message_with_their_number(world):
    """The endpoint is no label and no group: it is what the pattern's wildcard matched."""
    await world.start(aggregation_rules=RULES)
    notes = {"summary": "API endpoint /cart returning 5xx"}
    errors = [
        alert("ApiErrors", notes=notes, pod=f"p{n}", instance=f"i{n}", service=f"s{n}", **WHERE) for n in range(10)
    ]

    await world.alertmanager.post(errors)

    await within(30, lambda: any("API /cart experiencing errors (10 in 1m)" in shown for shown in titles(world)))
