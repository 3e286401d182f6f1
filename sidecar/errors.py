"""Everything this package raises on purpose.

::

    SidecarError
    |-- ConfigError            the configuration file is wrong: every problem at once, each with its path and a hint
    |-- PayloadError           a body that can never be parsed as an Alertmanager webhook: answered 400
    |-- StoreError             the database refused, hung or lost the connection: answered 503
    |   |-- Conflict           another replica appended to the shard's log first: fold its rows and decide again
    |   |-- Disconnected       the connection broke; whether the last statement was committed is unknown
    |   `-- Refused            the database refused what was in the batch: somewhere in it is a poison
    |-- ProviderError          a model of others was asked and gave no usable answer: the built-in one scores
    |-- Unanswered             Prometheus was asked and gave no usable answer: messages go out without it
    |-- TooOld                 a vote on an episode that no longer counts
    |-- UnknownEpisode         a vote or a question about an episode that was never seen
    `-- AuthError              a signature, secret or replay window that does not hold: answered 401
"""

from __future__ import annotations


class SidecarError(Exception):
    """The root of the tree."""


class ConfigError(SidecarError):
    """The configuration is wrong; `problems` lists (path in the file, what is wrong, what to write instead)."""

    def __init__(self, problems: list[tuple[str, str, str]]) -> None:
        self.problems = problems
        super().__init__(
            "\n".join(f"{path}: {wrong}" + (f" ({hint})" if hint else "") for path, wrong, hint in problems)
        )


class PayloadError(SidecarError):
    """The body can never be parsed as an Alertmanager webhook."""


class StoreError(SidecarError):
    """The database refused, hung or lost the connection."""


class Conflict(StoreError):
    """Another replica appended to the shard's log first."""


class Disconnected(StoreError):
    """The connection broke; whether the last statement was committed is unknown."""


class Refused(StoreError):
    """The batch itself cannot be decided or stored, however often it is tried."""


class ProviderError(SidecarError):
    """A model's endpoint gave no answer, or with `wrong` one that is not as agreed."""

    def __init__(self, why: str, *, wrong: bool = False) -> None:
        self.wrong = wrong
        super().__init__(why)


class Unanswered(SidecarError):
    """Prometheus gave no usable answer; with `ill`, it would give none to any other query now."""

    def __init__(self, why: str, *, ill: bool = False) -> None:
        self.ill = ill
        super().__init__(why)


class TooOld(SidecarError):
    """The episode is too old to count votes on."""


class UnknownEpisode(SidecarError):
    """No such episode was ever seen."""


class AuthError(SidecarError):
    """A signature, secret or replay window does not hold."""
