"""Microseconds an alert for finding what reads alike, among 100 to 100,000 open incidents.

    python -m benchmarks.similarity [--open 100 1000 10000 100000] [--rounds 15]

Incidents are opened by the pipeline, each with a text of its own: half of them spread over alertnames, namespaces and
services of two words; half crowded under one alertname and namespace with services that begin alike, the worst there is
for the index. Then batches of 64 new alerts go through the rule: a quarter read the same as an open incident, a quarter
nearly the same, half like nothing; no text that is not open was seen before. Beside it, in the same rounds: the decoding
of 64 alerts from a webhook's JSON, which does not depend on what is open, and what the index is there to avoid, comparing
a text with all others by rapidfuzz, in its own C++ loop. Processor time, medians of the rounds.
Exits 1 when the cost in decodings grows by more than half from the fewest to the most, or when a twin of the spread half
is not found.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
from collections.abc import Sequence

from msgspec import Struct
from rapidfuzz import process
from rapidfuzz.distance import Indel
from tqdm import tqdm

from benchmarks.load import SERIAL, template
from benchmarks.watch import Watch
from models.likeness import BORDER
from sidecar.app import GC_THRESHOLDS
from sidecar.config import Config
from sidecar.domain import Alert, Decision, Received, Verdict
from sidecar.draft import Inputs, scored_as
from sidecar.intake.webhook import fingerprint_of, parse
from sidecar.pipeline import plan
from sidecar.rules.base import Batch, Facts
from sidecar.rules.routing import routing
from sidecar.rules.similarity import similarity
from sidecar.state import State, keys_of

BATCH = 64
REPEAT = 10  # batches in a round
NOW = 1_795_000_000.0
LIMIT = 1.5  # of the cost at the largest number over that at the smallest
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CONFIG = Config.model_validate({"folding": {"labels": [], "group": False}})


class Silent:
    """Scores nothing."""

    certificate = None
    version = "none"

    def score(self, rows: Sequence[tuple[float, ...]]) -> tuple[list[float | None], str]:
        return [None] * len(rows), self.version


class Place(Struct, frozen=True):
    """What an incident is about: alertname, namespace, service."""

    alertname: str
    namespace: str
    service: str
    crowded: bool

    def alert(self, pod: str, more: str = "") -> Received:
        named = {"alertname": self.alertname, "namespace": self.namespace, "service": self.service + more}
        labels = {**named, "pod": pod, "severity": "warning"}
        return Received(Alert(fingerprint_of(labels), labels, {}, NOW, None), "", "", NOW)


def word(draw: random.Random, length: int) -> str:
    return "".join(draw.choices(LETTERS, k=length))


def places(count: int) -> list[Place]:
    """So many, no two the same; every other one is crowded."""
    draw = random.Random(7)
    names = [f"{word(draw, 5)}_{word(draw, 7)}" for _ in range(60)]
    spaces = [word(draw, 8) for _ in range(40)]
    made: dict[Place, None] = {}
    while len(made) < count:
        crowded = len(made) % 2 == 1
        service = f"orderly{word(draw, 5)}" if crowded else f"{word(draw, 8)}-{word(draw, 9)}"
        where = ("HighErrorRate", "shop") if crowded else (draw.choice(names), draw.choice(spaces))
        made[Place(*where, service, crowded)] = None
    return list(made)


def opened(known: list[Place]) -> State:
    """The state in which each of these has an open incident that people were told of."""
    state = State()
    for start in range(0, len(known), 500):
        inputs = Inputs(tuple(place.alert("first") for place in known[start : start + 500]))
        plan(inputs, state, Silent(), CONFIG, NOW, rules=(routing,), duties=())
        state.commit(state.seq + 1)
    return state


def asked(known: list[Place], batch: int) -> tuple[list[Received], list[Place | None]]:
    """The alerts of a batch, and whose twin each is."""
    draw = random.Random(batch)
    twins: list[Place | None] = [*draw.choices(known, k=BATCH // 2), *[None] * (BATCH // 2)]
    made = []
    for n, twin in enumerate(twins):
        other = Place(f"{word(draw, 6)}_{word(draw, 6)}", "elsewhere", word(draw, 12), crowded=False)
        made.append((twin or other).alert(f"p{batch}", "s" if n >= BATCH // 4 and twin else ""))
    return made, twins


class Found(Struct):
    """Twins that were asked for and that were found, of the spread half and of the crowded one."""

    spread: list[bool] = []
    crowded: list[bool] = []


def round_of(watch: Watch, state: State, known: list[Place], texts: list[str], batches: range, found: Found) -> None:
    body = template(BATCH, seed=1)
    for batch in batches:
        sent = body.replace(SERIAL.encode(), b"%08d" % batch)
        watch("decode", lambda sent=sent: parse(sent, NOW))
        alerts, twins = asked(known, batch)
        decisions = watch("text", lambda alerts=alerts: [decided(one) for one in alerts])
        after = watch("rule", lambda made=decisions: similarity(Batch(tuple(made)), Facts(NOW + 60, CONFIG, state)))
        for decision, twin in zip(after.decisions, twins, strict=True):
            if twin is not None:
                (found.crowded if twin.crowded else found.spread).append(decision.verdict is Verdict.FOLD)
    one = decisions[-1].scored.text.rpartition(BORDER)[2]
    watch("all pairs", lambda: process.extractOne(one, texts, scorer=Indel.normalized_similarity, score_cutoff=0.85))


def decided(received: Received) -> Decision:
    """As the pipeline hands it to the rules; of its cost, the part that makes the text is measured by difference."""
    keys = keys_of(received.alert.fingerprint, received.alert.labels)
    return Decision(scored_as(CONFIG, received, keys, "e"), Verdict.NOTIFY, f"i-{received.alert.fingerprint}")


def measure(count: int, rounds: int) -> tuple[dict[str, float], Found]:
    """Medians over the rounds, microseconds an alert, by what was done."""
    known = places(count)
    state, found, watched = opened(known), Found(), []
    texts = [key.rpartition(BORDER)[2] for key in state.texts.values()]
    gc.freeze()
    for n in tqdm(range(rounds + 1), desc=f"{count:,} open", unit=" rounds", disable=None):
        watch = Watch()
        round_of(watch, state, known, texts, range(n * REPEAT, (n + 1) * REPEAT), found)
        watched.append(watch.spent)
    each = dict.fromkeys(watched[0], BATCH * REPEAT) | {"all pairs": 1}
    return {name: statistics.median(one[name] for one in watched[1:]) / each[name] * 1e6 for name in each}, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--open", type=int, nargs="+", default=[100, 1000, 10_000, 100_000], help="open incidents")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    gc.set_threshold(*GC_THRESHOLDS)
    ratios, missed = [], 0
    print("| open incidents | text | rule | decoding | rule / decoding | all pairs | found, spread | found, crowded |")
    print("|---|---|---|---|---|---|---|---|")
    for count in options.open:
        took, found = measure(count, options.rounds)
        ratios.append(took["rule"] / took["decode"])
        missed += found.spread.count(False)
        shares = [f"{sum(one) / max(1, len(one)):.0%}" for one in (found.spread, found.crowded)]
        numbers = f"{took['text']:.1f} | {took['rule']:.1f} | {took['decode']:.1f} | {ratios[-1]:.2f} | {took['all pairs']:,.0f}"
        print(f"| {count:,} | {numbers} | {' | '.join(shares)} |", flush=True)
    print(f"\nfrom the fewest to the most: {ratios[-1] / ratios[0]:.2f} times the cost, {missed} twins missed")
    sys.exit(ratios[-1] > LIMIT * ratios[0] or missed > 0)


if __name__ == "__main__":
    main()
