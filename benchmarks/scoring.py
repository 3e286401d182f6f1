"""Microseconds an alert for features and for scores, with a model that the nightly job trained and promoted.

    python -m benchmarks.scoring HISTORY.jsonl.gz [--rounds 15] [--fingerprints 64 20000]

The history is replayed through the pipeline with nightly training (`training.backtest`), and what its last night promoted
scores here, as it would serve. Batches have 64 alerts of which no two are alike, and each round sees others, so that with
20,000 fingerprints most of what a batch reads is not in the processor's cache. "Features" are the look into the
statistics and the vector; "keys" is what the labels are read for anyway. Beside them, in the same rounds: the bare
`predict` of the same model on a ready array, and the decoding of 64 new alerts from a webhook's JSON. Medians of the rounds, which are interleaved. Exits 1 when the features or the scores take more
than 10 µs an alert.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.load import SERIAL, template
from benchmarks.watch import Watch
from models.features import FEATURES, vector
from models.scorers import LightGBMScorer
from models.statistics import Keys, Statistics
from sidecar.app import GC_THRESHOLDS
from sidecar.config import Config
from sidecar.domain import Alert
from sidecar.intake.webhook import parse
from sidecar.replay import Answers, read_history
from sidecar.scoring import Scorers
from sidecar.state import keys_of
from training.backtest import backtest

BATCH = 64
LIMIT = 10.0  # us an alert
REPEAT = 20  # batches in a round
NOW = 1_795_000_000.0
NAMES, HOSTS = 60, 900  # of the alerts that are known
VOTED = 5  # one in so many has a vote of its own; votes on its name and its instance count for it too


def champion(history: Path) -> LightGBMScorer:
    """What the last night that promoted a model left in service."""
    alerts = read_history(history)
    with tqdm(total=len(alerts), unit=" alerts", desc="training", disable=None) as bar:
        _, night = backtest(alerts, Config.model_validate({}), Answers(told_only=False), bar.update)
    if night.serving is None:
        sys.exit(f"no night of {history} promoted a model: give a longer history")
    return night.serving


def past(count: int) -> Statistics:
    """So many fingerprints, each with two episodes over the last week; people voted on one in five."""
    draw, known = random.Random(1), Statistics()
    for n in range(count):
        keys = Keys(f"f{n}", f"Name{n % NAMES}", f"host-{n % HOSTS}", f"svc-{n % 40}", f"ns-{n % 12}", "WARNING")
        at = NOW - draw.uniform(3600.0, 7 * 86400.0)
        for start in (at, at + 900.0):
            known.started(start, keys)
            known.ended(start + draw.uniform(30.0, 600.0), keys, start, start + 120.0)
        if n % VOTED == 0:
            known.voted(at + 1800.0, keys, float(draw.random() < 0.7), None)
        known.commit()
    return known


def asked(known: int, batch: int) -> list[tuple[Keys, dict[str, str]]]:
    """The alerts of a batch: known fingerprints as far as there are any, of other names and instances each."""
    draw = random.Random(batch)
    made = []
    for n in draw.sample(range(max(known, BATCH)), BATCH):
        keys = Keys(f"f{n}", f"Name{n % NAMES}", f"host-{n % HOSTS}", f"svc-{n % 40}", f"ns-{n % 12}", "WARNING")
        made.append((keys, {"value": f"{draw.uniform(1, 50):.3f}", "threshold": "10"}))
    return made


def featured(known: Statistics, alerts: list[tuple[Keys, dict[str, str]]]) -> list[tuple[float, ...]]:
    """As the pipeline does it for each start."""
    return [vector(known, keys, notes, NOW, known.look(keys)) for keys, notes in alerts]


def round_of(watch: Watch, known: Statistics, scorer: LightGBMScorer, count: int, batches: range) -> None:
    """Each batch as the pipeline takes it: what was just decoded gets its features, and they are scored at once."""
    scorers, body = Scorers(), template(BATCH, seed=1)
    scorers.use(scorer)
    for batch in batches:
        sent, alerts = body.replace(SERIAL.encode(), b"%08d" % batch), asked(count, batch)
        rows = watch("features", lambda alerts=alerts: featured(known, alerts))
        watch("score", lambda rows=rows: scorers.score(rows))
        assert len(set(rows)) == BATCH, "rows that are alike flatter"
        matrix = np.array(rows)
        watch("bare predict", lambda matrix=matrix: scorer.raw(matrix))
        parsed = watch("decode JSON", lambda sent=sent: parse(sent, NOW))
        watch("keys", lambda parsed=parsed: [_keys(one.alert) for one in parsed.received])


def measure(scorer: LightGBMScorer, count: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds, microseconds an alert, by what was done."""
    known, seen = past(count), []
    gc.collect()
    gc.freeze()  # as it serves
    for number in tqdm(range(rounds), desc=f"{count} fingerprints", disable=None):
        watch = Watch()
        round_of(watch, known, scorer, count, range(number * REPEAT, (number + 1) * REPEAT))
        seen.append(watch.spent)
    return {name: statistics.median(one[name] for one in seen) / (REPEAT * BATCH) * 1e6 for name in seen[0]}


def _keys(alert: Alert) -> Keys:
    return keys_of(alert.fingerprint, alert.labels)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("history", type=Path, help="a labelled history, as `python -m training backtest` takes it")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--fingerprints", type=int, nargs="*", default=[BATCH, 20_000])
    options = parser.parse_args()
    scorer = champion(options.history)
    gc.set_threshold(*GC_THRESHOLDS)  # as it serves
    print(f"{scorer.version}: {scorer.trees} trees, {len(FEATURES)} features; us an alert, in batches of {BATCH}")
    print("fingerprints  features  keys  score  bare predict  decode JSON  score/predict  (features+score)/decode")
    worst = 0.0
    for count in options.fingerprints:
        took = measure(scorer, count, options.rounds)
        features, score = took["features"], took["score"]
        worst = max(worst, features, score)
        print(
            f"{count:>12,}{took['features']:>10.2f}{took['keys']:>6.2f}{score:>7.2f}{took['bare predict']:>14.2f}"
            f"{took['decode JSON']:>13.2f}{score / took['bare predict']:>15.2f}{(features + score) / took['decode JSON']:>25.2f}"
        )
    print(f"limit {LIMIT:g} us for either: {'held' if worst <= LIMIT else 'MISSED'}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
