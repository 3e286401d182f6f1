"""What alerts that wait cost the ones that come, and what the morning costs.

    python -m benchmarks.holds

So many INFO alerts wait for business hours; then batches of 500 new WARNING alerts are planned on top, and at last the
hour comes at which all that waits is told. Processor time of planning alone: no database, no delivery.
"""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime

from sidecar.config import Config
from sidecar.domain import Alert, Received
from sidecar.events import Plan
from sidecar.intake.webhook import fingerprint_of
from sidecar.pipeline import Inputs, plan
from sidecar.scoring import Scorers
from sidecar.state import State

NIGHT = datetime(2026, 11, 24, 22, tzinfo=UTC).timestamp()
MORNING = NIGHT + 11 * 3600.0
BATCH, ROUNDS = 500, 30
WAITING = (0, 10_000, 100_000)
WINDOWS = {
    "business_hours": {"schedule": "0 9-17 * * 1-5", "routes": {"WARNING": ["default"], "INFO": ["default"]}},
    "off_hours": {"schedule": "0 17-9 * * 1-5,0 0-23 * * 0,6", "routes": {"WARNING": ["default"], "INFO": []}},
}


class Night:
    """One shard in which so many alerts wait."""

    def __init__(self, waiting: int) -> None:
        settings = {
            "time_based_routing": WINDOWS,
            "audit_sample": {"share": 0, "first_month": 0},
            "storm": {"enabled": False},
        }
        self.config = Config.model_validate(settings)
        self.state, self.scorers, self.now = State(), Scorers(lambda: None), NIGHT
        for first in range(0, waiting, BATCH):
            self.decide(*(self.alert("info", f"night-{first + n}") for n in range(BATCH)))

    def alert(self, severity: str, instance: str) -> Received:
        labels = {"alertname": "QueueSlow", "severity": severity, "instance": instance}
        return Received(Alert(fingerprint_of(labels), labels, {}, self.now, None), at=self.now)

    def decide(self, *received: Received) -> tuple[Plan, float]:
        """The plan, and the seconds of processor time that it took."""
        began = time.process_time()
        made = plan(Inputs(received), self.state, self.scorers, self.config, self.now)
        self.state.commit(self.state.seq + 1)
        return made, time.process_time() - began


def main() -> None:
    for waiting in WAITING:
        night = Night(waiting)
        took = []
        for batch in range(ROUNDS):
            night.now += 1
            took.append(night.decide(*(night.alert("warning", f"new-{batch}-{n}") for n in range(BATCH)))[1])
        each = statistics.median(took) / BATCH * 1e6
        night.now, released, spent = MORNING, 0, []
        while (due := night.state.next_due()) is not None and due <= night.now:
            made, seconds = night.decide()
            released, spent = released + len(made.decisions), [*spent, seconds]
        longest = max(spent, default=0.0) * 1e3
        print(
            f"{waiting:>7,} wait: {each:5.1f} µs for each new alert; the morning tells {released:,} in {len(spent)} batches, "
            f"{sum(spent):.1f} s, the longest {longest:.0f} ms"
        )


if __name__ == "__main__":
    main()
