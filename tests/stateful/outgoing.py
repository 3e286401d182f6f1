"""What goes out: who is told of what, how often, and under which key."""

from __future__ import annotations

from typing import Any

from sidecar.domain import Delivery
from sidecar.events import Delivered
from tests.stateful.books import INTERRUPTS, Broken, Firing, Telling
from tests.stateful.configurations import Promise

SLACK = 60.0  # s: a repeat may come so much before the interval is over


class Outgoing:
    """The oracle's part about messages."""

    promise: Promise
    targets: dict[str, Any]  # receiver -> ((target, kinds), ...)
    now: float
    tellings: dict[str, Telling]
    keys: dict[str, tuple[str, str, str]]  # of the outbox: key -> what it means
    _again: set[tuple[str, str]]
    _escalated: set[tuple[str, str]]

    def inside(self, incident: str) -> list[Firing]:
        raise NotImplementedError

    def _not_closed(self, telling: Telling) -> bool:
        raise NotImplementedError

    def _known(self, delivery: Delivery) -> bool:
        """Whether the outbox has its key: then it is not sent, and must not have to be."""
        meaning = (delivery.receiver, delivery.incident, delivery.kind)
        known = self.keys.setdefault(delivery.dedup_key, meaning) if delivery.dedup_key in self.keys else None
        self.keys[delivery.dedup_key] = meaning
        if known is None:
            return False
        if known != meaning or delivery.kind != "resolve" or self.tellings[delivery.incident].live[delivery.receiver]:
            raise Broken(f"the outbox has {delivery.dedup_key} already: it would never be sent")
        return True

    def _note_deliveries(self, deliveries: list[Delivery]) -> None:
        loud: set[tuple[str, str]] = set()
        for one in deliveries:
            if one.kind in ("silence", "digest"):
                continue
            if one.kind in INTERRUPTS:
                if (one.incident, one.receiver) in loud:
                    raise Broken(f"{one.receiver} is interrupted twice by one batch about {one.incident}")
                loud.add((one.incident, one.receiver))
            self._note_delivery(one, self.tellings[one.incident])

    def _note_delivery(self, one: Delivery, telling: Telling) -> None:
        receiver, live = one.receiver.split("/")[0], telling.live.get(one.receiver, False)
        lost = receiver in telling.lost
        told = receiver in telling.at and (not lost or (one.kind == "resolve" and receiver in telling.has))
        if one.kind == "notify" and told and telling.at[receiver] < self.now:
            raise Broken(f"{one.receiver} is told of {one.incident} twice")
        escalated = (one.incident, receiver) in self._escalated
        if one.kind != "notify" and not told and not (one.kind == "raise" and escalated):
            raise Broken(f"{one.kind} of {one.incident} to {one.receiver}, who was not told")
        if one.kind == "reminder" and telling.at[receiver] < self.now:
            self._check_reminder(one, telling, receiver)
        if one.kind == "resolve" and not live and not lost:
            raise Broken(f"{one.receiver} is told twice that {one.incident} is over")
        telling.live[one.receiver] = one.kind != "resolve"
        anew = escalated or (one.incident, receiver) in self._again
        if one.kind in ("notify", "reminder") or (one.kind == "raise" and anew):
            telling.at[receiver] = self.now
            telling.lost.discard(receiver)
            telling.first = self.now if telling.first is None else telling.first

    def _check_reminder(self, one: Delivery, telling: Telling, receiver: str) -> None:
        waited = self.now - telling.at[receiver]
        over = telling.settle and telling.first is not None and self.now - telling.first > self.promise.folds_for
        if waited < self.promise.repeat - SLACK and not over:
            raise Broken(f"{one.receiver} is reminded of {one.incident} after {waited:.0f} s")

    def _deliver(self, event: Delivered) -> None:
        telling = self.tellings.get(event.incident)
        if telling is None or event.kind in ("update", "silence", "digest"):
            return
        if event.outcome != "dead":
            telling.has.add(event.receiver)
        if event.outcome == "dead":
            telling.lost.add(event.receiver)
            telling.first = telling.first if telling.reached() else None  # nobody was told after all
        elif event.receiver in telling.lost:
            telling.lost.discard(event.receiver)
            telling.first = (
                min(telling.at[one] for one in telling.reached()) if telling.first is None else telling.first
            )
            for target, _ in self.targets[event.receiver]:  # what is sent now says what is now
                telling.live[target] = bool(self.inside(event.incident)) or self._not_closed(telling)
