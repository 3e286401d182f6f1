"""One pass over a metric series: how unusual is each point, against what this series has shown so far?

For each point a level is expected: that of this time of day, shrunk towards the recent level while the time of day is
little known. What deviates from it, from the last few points, from the long-run level and from the usual restlessness
is measured in units of its own usual size. The largest such deviations so far are kept, a dozen per kind and
direction; how far a new one lies above them gives its tail probability (the peaks-over-threshold method of extreme value
statistics, with an exponential tail in the logarithm). So each series sets its own scale: noise that comes in spikes
makes spikes usual.

After an alarm only what is more surprising counts for a while. Memory and time per point are constant, and nothing
looks ahead.
"""

from __future__ import annotations

from bisect import insort
from math import exp, isfinite, log
from typing import Final

DAY: Final = 86400.0
BINS: Final = 96  # quarters of an hour
WARM: Final = 60  # points before anything is judged
SMALL: Final = 1e-300  # nothing is divided by 0
LARGEST: Final = 1e150  # a square of it is still a number

# What is expected. A rate is the share of a new point.
FAST: Final = 0.3
SLOW: Final = 0.006
SHIFT: Final = 0.12
STIR: Final = 0.06
LONG: Final = 2000  # points of the long-run level
CALM: Final = 1000  # points of the usual restlessness
SIZE: Final = 500  # points of the usual size of a deviation
CLIP: Final = 5.0  # usual sizes that one deviation may add to it
TRUST: Final = 300  # points by which the two levels are compared
VISITS: Final = 20  # of a time of day, that its level stands for
SHRINK: Final = 2.0  # visits that the recent level counts for
FINEST: Final = 0.005  # of the range seen: deviations below that are all alike

# What is unusual.
PEAKS: Final = 12  # the largest deviations kept, per kind and direction
APART: Final = 8  # points; peaks that are closer are one
MEMORY: Final = 4000  # points that a probability may refer to
TICK: Final = 128  # points between two steps of forgetting
FADE: Final = 0.003  # of a peak's logarithm, per step
LEAST: Final = -6.0  # the logarithm of a deviation, in usual sizes, that is none: rounding makes such
NARROW: Final = 0.18  # the least spread of the peaks' logarithms
OTHERS: Final = 0.3  # the share of the other kinds that is added to the largest surprise

# What is said of it.
REST: Final = 150.0  # points after an alarm in which only more than that counts
REST_SHARE: Final = 0.03  # and this share of all points so far
AGAIN: Final = 1.1  # as many times as surprising
HALF: Final = 8.0  # the surprise, in nats, that is scored 0.5
MOST: Final = 200.0


class Tail:
    """The largest deviations of one kind so far, as logarithms, the smallest first."""

    __slots__ = ("bar", "last", "peaks", "top")

    def __init__(self) -> None:
        self.peaks = [LEAST] * PEAKS
        self.bar = exp(LEAST)  # what is below needs no logarithm
        self.last = -APART
        self.top = LEAST  # of the cluster that `last` belongs to

    def surprise(self, deviation: float, index: int) -> float:
        """-log of the probability of a deviation this large, and remember it. Only for one above `bar`."""
        peaks = self.peaks
        height = log(deviation)
        least = peaks[0]
        spread = sum(peaks) / PEAKS - least
        self._remember(height, index)
        return log(1.0 + min(index, MEMORY) / (PEAKS * APART)) + (height - least) / (spread + NARROW)

    def _remember(self, height: float, index: int) -> None:
        if index - self.last < APART:  # the same event: its highest point stands for it
            if height <= self.top:
                return
            self.peaks.remove(self.top)
        else:
            del self.peaks[0]
        self.last = index
        insort(self.peaks, height)
        self.top = height
        self.bar = exp(self.peaks[0])

    def fade(self) -> None:
        """Forget a little: what was large long ago is less so."""
        self.peaks = [peak - FADE for peak in self.peaks]
        self.top -= FADE
        self.bar = exp(self.peaks[0])


class Gauge:
    """One kind of deviation: its usual size, and its tails upwards and downwards."""

    __slots__ = ("down", "size", "up")

    def __init__(self) -> None:
        self.size = 0.0
        self.up = Tail()
        self.down = Tail()

    def read(self, deviation: float, floor: float, index: int) -> float:
        """The surprise of a signed deviation; 0 for what is not among the largest."""
        tail = self.up
        if deviation < 0.0:
            deviation = -deviation
            tail = self.down
        size = self.size
        ratio = deviation / (size + floor)
        if ratio > CLIP:  # one far outlier must not make all others look small
            deviation = CLIP * (size + floor)
        self.size = size + (deviation - size) / min(index, SIZE)
        return tail.surprise(ratio, index) if ratio > tail.bar and index > WARM // 2 else 0.0


class Stream:
    """The detector of one series. `score` takes its points in the order of time."""

    __slots__ = (
        "_calm", "_counts", "_fast", "_gauges", "_held", "_held_at", "_high", "_index", "_last", "_long", "_low",
        "_means", "_shift", "_slow", "_stir", "_trust_fast", "_trust_usual",
    )  # fmt: skip

    def __init__(self) -> None:
        self._index = 0
        self._last = self._fast = self._slow = self._long = 0.0
        self._low = self._high = 0.0
        self._shift = self._stir = self._calm = 0.0
        self._trust_fast = self._trust_usual = 0.0
        self._means = [0.0] * BINS
        self._counts = [0] * BINS
        self._gauges = [Gauge() for _ in range(5)]
        self._held = 0.0
        self._held_at = 0

    def score(self, at: float, value: float) -> float:
        """0..1: how unusual `value` is at `at`, seconds since the epoch. What is not finite is 0 and not learned."""
        if not (isfinite(value) and isfinite(at) and abs(value) < LARGEST):
            return 0.0
        self._index += 1
        if self._index == 1:
            self._begin(value)
        surprise = self._surprise(int(at % DAY * (BINS / DAY)) % BINS, value)
        if self._index % TICK == 0:
            for gauge in self._gauges:
                gauge.up.fade()
                gauge.down.fade()
        return self._judge(surprise) if surprise > 0.0 and self._index > WARM else 0.0

    def _begin(self, value: float) -> None:
        self._last = self._fast = self._slow = self._long = self._low = self._high = value

    def _surprise(self, place: int, value: float) -> float:
        """How little probable `value` is now, in nats, after learning it; 0 when it is nothing special."""
        index, fast = self._index, self._fast
        count = self._counts[place]
        usual = (count * self._means[place] + SHRINK * self._slow) / (count + SHRINK)
        floor = self._widen(value)
        off_fast, off_usual = value - fast, value - usual
        off_both = off_usual + self._weigh(abs(off_fast), abs(off_usual), floor) * (usual - fast)
        self._shift += (off_usual - self._shift) * SHIFT
        step = abs(value - self._last)
        self._stir += (step - self._stir) * STIR
        self._calm += (step - self._calm) / min(index, CALM)
        near, both, shift, far, stir = self._gauges
        found = (
            0.7 * near.read(off_fast, floor, index),
            both.read(off_both, floor, index),
            shift.read(self._shift, floor, index),
            far.read(value - self._long, floor, index),
            0.6 * stir.read(log((self._stir + floor) / (self._calm + floor)), 0.2, index),
        )
        self._learn(place, value)
        largest = max(found)
        return largest + OTHERS * (sum(found) - largest) if largest else 0.0

    def _widen(self, value: float) -> float:
        """Learn the range; returns what is too small to be a deviation."""
        if value < self._low:
            self._low = value
        elif value > self._high:
            self._high = value
        return FINEST * (self._high - self._low) + 1e-9 * (abs(value) + abs(self._slow)) + SMALL

    def _weigh(self, off_fast: float, off_usual: float, floor: float) -> float:
        """The share of the last few points in what is expected: by how well they and the time of day did so far."""
        fast, usual = self._trust_fast, self._trust_usual
        rate = 1.0 / min(self._index, TRUST)
        self._trust_fast += (min(off_fast, 6.0 * fast + floor) - fast) * rate
        self._trust_usual += (min(off_usual, 6.0 * usual + floor) - usual) * rate
        return usual * usual / (usual * usual + fast * fast + SMALL)

    def _learn(self, place: int, value: float) -> None:
        index = self._index
        self._last = value
        self._fast += FAST * (value - self._fast)
        self._slow += (value - self._slow) * max(SLOW, 1.0 / index)
        self._long += (value - self._long) / min(index, LONG)
        count = self._counts[place] + 1
        self._means[place] += (value - self._means[place]) / count
        if count < VISITS:
            self._counts[place] = count

    def _judge(self, surprise: float) -> float:
        """The score of a surprise, or 0 while an alarm about as large is recent."""
        recent = self._index - self._held_at < REST + REST_SHARE * self._index
        if recent and surprise < AGAIN * self._held:
            return 0.0
        self._held, self._held_at = surprise, self._index
        surprise = min(surprise, MOST)
        return surprise / (surprise + HALF)
