"""One pass over a metric series: how unusual is each point, against what this series has shown so far?

For each point a level is expected: that of this time of day, shrunk towards the recent level while the time of day is
little known. What deviates from it, from the last few points, from the long-run level and from the usual restlessness
is measured in units of its own usual size. The largest such deviations so far are kept, some twenty per kind and
direction; how far a new one lies above them gives its tail probability (the peaks-over-threshold method of extreme value
statistics, with an exponential tail in the logarithm). So each series sets its own scale: noise that comes in spikes
makes spikes usual.

After an alarm only what is more surprising counts for a while. Memory and time per point are constant, and nothing
looks ahead.
"""

from __future__ import annotations

from bisect import insort
from math import isfinite, log
from typing import Final

DAY: Final = 86400.0
BINS: Final = 96  # of a quarter of an hour
WARM: Final = 60  # points before anything is judged
PEAKS: Final = 16  # the largest deviations kept, per kind and direction
APART: Final = 12  # points between two peaks; what is closer is one
MEMORY: Final = 4000  # points: what a peak from that long ago counts for less
TICK: Final = 128  # points between two steps of forgetting
FADE: Final = 0.01  # the share of a peak's height, in logarithms, that is forgotten per step
REST: Final = 220.0  # points after an alarm until the same counts in full again
AGAIN: Final = 1.1  # within them, as many times as surprising
NARROW: Final = 0.12  # the least spread of logarithms between peaks
HALF: Final = 8.0  # the surprise, in nats, that is scored 0.5
MOST: Final = 60.0


class Tail:
    """The largest deviations of one kind so far, as logarithms, the smallest first."""

    __slots__ = ("bar", "last", "peaks", "top")

    def __init__(self) -> None:
        self.peaks = [-20.0] * PEAKS
        self.bar = 2e-9  # exp(peaks[0]): what is below needs no logarithm
        self.last = -APART
        self.top = -20.0  # of the cluster that `last` belongs to

    def surprise(self, deviation: float, index: int) -> float:
        """-log of the probability of a deviation this large, and remember it. Only for one above `bar`."""
        peaks = self.peaks
        height = log(deviation)
        least = peaks[0]
        spread = sum(peaks) / PEAKS - least
        found = log((index if index < MEMORY else MEMORY) / PEAKS / APART + 1.0) + (height - least) / (spread + NARROW)
        self._remember(height, index)
        return found

    def _remember(self, height: float, index: int) -> None:
        if index - self.last < APART:  # the same event: its highest point stands for it
            if height <= self.top:
                return
            self.peaks.remove(self.top)
        else:
            self.last = index
            del self.peaks[0]
        insort(self.peaks, height)
        self.top = height
        self.bar = 2.718281828459045 ** self.peaks[0]

    def fade(self) -> None:
        """Forget a little: what was large long ago is less so."""
        self.peaks = [peak - FADE for peak in self.peaks]
        self.top -= FADE
        self.bar = 2.718281828459045 ** self.peaks[0]


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
        # What is far outside widens the usual size by no more than five times its share.
        self.size = size + ((deviation if ratio < 5.0 else 5.0 * (size + floor)) - size) / (
            index if index < 500 else 500
        )
        return tail.surprise(ratio, index) if ratio > tail.bar and index > WARM // 2 else 0.0


class Stream:
    """The detector of one series. `score` takes its points in the order of time."""

    __slots__ = (
        "_calm", "_counts", "_fast", "_gauges", "_held", "_held_at", "_high", "_index", "_last", "_long", "_low",
        "_means", "_shift", "_slow", "_stir", "_trust_day", "_trust_now",
    )  # fmt: skip

    def __init__(self) -> None:
        self._index = 0
        self._last = self._fast = self._slow = self._long = 0.0
        self._low = self._high = 0.0
        self._shift = self._stir = self._calm = 0.0
        self._trust_day = self._trust_now = 0.0
        self._means = [0.0] * BINS
        self._counts = [0] * BINS
        self._gauges = [Gauge() for _ in range(5)]
        self._held = 0.0
        self._held_at = 0

    def score(self, at: float, value: float) -> float:
        """0..1: how unusual `value` is at `at`, seconds since the epoch. What is not finite is 0 and not learned."""
        if not (isfinite(value) and isfinite(at)):
            return 0.0
        self._index += 1
        if self._index == 1:
            self._begin(value)
        surprise = self._surprise(at, value)
        if self._index % TICK == 0:
            for gauge in self._gauges:
                gauge.up.fade()
                gauge.down.fade()
        if self._index <= WARM or surprise <= 0.0:
            return 0.0
        return self._judge(surprise)

    def _begin(self, value: float) -> None:
        self._last = self._fast = self._slow = self._long = self._low = self._high = value

    def _expected(self, place: int) -> float:
        """The level of this time of day, as far as it is known, mixed with the recent level by how well each did."""
        count = self._counts[place]
        day = (count * self._means[place] + 2.0 * self._slow) / (count + 2.0)
        return day

    def _surprise(self, at: float, value: float) -> float:
        index = self._index
        place = int(at % DAY * (BINS / DAY))
        day = self._expected(place)
        fast, slow = self._fast, self._slow
        if value < self._low:
            self._low = value
        elif value > self._high:
            self._high = value
        floor = 0.005 * (self._high - self._low) + 1e-9 * (abs(value) + abs(slow)) + 1e-300
        now_error, day_error = value - fast, value - day
        a, b = abs(now_error), abs(day_error)
        trust_now, trust_day = self._trust_now, self._trust_day
        rate = 1.0 / (index if index < 300 else 300)
        weigh = trust_now * trust_now + 1e-300
        weigh = weigh / (weigh + trust_day * trust_day + 1e-300)
        mixed = value - (weigh * day + (1.0 - weigh) * fast)
        self._trust_now = trust_now + (min(a, 6.0 * trust_now + floor) - trust_now) * rate
        self._trust_day = trust_day + (min(b, 6.0 * trust_day + floor) - trust_day) * rate
        step = abs(value - self._last)
        self._stir += (step - self._stir) * 0.06
        self._calm += (step - self._calm) / (index if index < 1000 else 1000)
        self._shift += (day_error - self._shift) * 0.08
        self._last = value
        one, two, three, four, five = self._gauges
        found = max(
            one.read(now_error, floor, index),
            two.read(mixed, floor, index),
            three.read(self._shift, floor, index),
            four.read(value - self._long, floor, index),
            five.read(log((self._stir + floor) / (self._calm + floor)), 0.05, index),
        )
        self._fast = fast + 0.3 * now_error
        self._slow = slow + (value - slow) * (1.0 / index if index < 100 else 0.01)
        self._long += (value - self._long) / (index if index < 2000 else 2000)
        self._learn(place, value)
        return found

    def _learn(self, place: int, value: float) -> None:
        count = self._counts[place] + 1
        self._means[place] += (value - self._means[place]) / count
        if count < 15:
            self._counts[place] = count

    def _judge(self, surprise: float) -> float:
        """The score of a surprise, or 0 while an alarm at least as large is recent."""
        since = self._index - self._held_at
        if since < REST and surprise < AGAIN * self._held * (1.0 - since / REST):
            return 0.0
        self._held, self._held_at = surprise, self._index
        surprise = min(surprise, MOST)
        return surprise / (surprise + HALF)
