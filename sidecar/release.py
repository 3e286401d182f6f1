"""What is held comes up again: because its time has come, or because new evidence speaks about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.features import vector
from models.statistics import Keys
from sidecar.domain import Reason, Received, severity_of, severity_rank
from sidecar.draft import Draft, Inputs
from sidecar.rules.base import guarded, moment
from sidecar.state import REAL

MOST: Final = 500  # decided anew in one batch; the ticker comes back for the rest


def release(inputs: Inputs, draft: Draft) -> None:
    """Make candidates of what was held long enough, and of what new evidence speaks about."""
    state = draft.state
    if not state.holds:
        return
    for fingerprint in dict.fromkeys((*state.holds.due(draft.now, MOST), *_spoken_of(inputs, draft))):
        hold, known = state.holds[fingerprint], state.episodes.get(fingerprint)
        if known is None or known.ended_at is not None:
            continue
        held, waited = Received(hold.alert, hold.group_key, given=hold.given), moment(draft.now - hold.since)
        said = "it still fires after" if hold.due <= draft.now else "there is news that concerns it, after"
        draft.waited[known.episode] = (Reason("hold", f"{said} {waited} of waiting"),)
        draft.candidates.append((held, known.keys, known.episode))
        draft.observations.append(vector(state.statistics, known.keys, hold.alert.annotations, draft.now))


def release_freed(draft: Draft) -> None:
    """What a silence of ours hid, and still fires when that ended early, is decided anew."""
    state = draft.state
    for fingerprint in list(state.freed):
        known, muted = state.episodes.get(fingerprint), state.muted.get(fingerprint)
        waits = known is not None and any(episode == known.episode for _, _, episode in draft.candidates)
        if known is None or muted is None or muted.alert is None or waits:
            continue
        draft.candidates.append((Received(muted.alert, muted.group_key), known.keys, known.episode))
        draft.observations.append(vector(state.statistics, known.keys, muted.alert.annotations, draft.now))


def _spoken_of(inputs: Inputs, draft: Draft) -> Iterator[str]:
    """What is held by its score, and is perhaps no noise: its alertname was called real, or its instance has worse."""
    holds = draft.state.holds
    for vote in inputs.votes:
        if vote.kind in REAL and not vote.retracted:
            yield from holds.of_alertname(Keys(*vote.keys).alertname)
    for received, _, _ in tuple(draft.candidates):
        labels = received.alert.labels
        waiting = holds.of_instance(labels.get("instance", "")) if "instance" in labels else ()
        if waiting:
            severity = severity_of(labels)
            rank, worst = severity_rank(severity), guarded(labels, severity, draft.config)
            for fingerprint in waiting:
                if worst or rank > severity_rank(severity_of(holds[fingerprint].alert.labels)):
                    yield fingerprint
