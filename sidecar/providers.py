"""Models of others: asked over HTTP for a webhook's alerts before these are decided, each model in one request.

What is sent is an Alertmanager webhook's `alerts`, and what is expected is what `POST /classify` and `POST /anomaly` of a
sidecar answer: `results`, one per alert in the same order (`openapi.yaml`). The answers travel with the alerts into the
pipeline, as facts. An endpoint that is slow, down or wrong costs at most its `timeout`: then the built-in model scores.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from sidecar.breaker import Breaker
from sidecar.channels.base import USER_AGENT, Request, Response
from sidecar.channels.settings import reveal
from sidecar.channels.wire import encode_json, format_time
from sidecar.config import Config
from sidecar.config.specified import MlModel
from sidecar.domain import Given, Received
from sidecar.errors import ProviderError
from sidecar.telemetry import Metrics

LONGEST_VERSION: Final = 100  # characters
LONGEST_RESULT: Final = 16 * 1024  # bytes for each alert: reading a longer answer would delay the webhook's
PREFIX: Final = "http:"  # of a version, so that nobody takes it for a model of ours
Fetch = Callable[[Request], Awaitable[Response]]
Answer = tuple[float, str]  # a number from 0 to 1, and the version of what said so
logger = structlog.get_logger()


class Classified(Struct, frozen=True):
    """One result of a classifier; what else it says is not read."""

    model: str
    value: float | None = msgspec.field(name="false_positive_probability")  # None: no answer for this alert
    fingerprint: str | None = None


class Spotted(Struct, frozen=True):
    """One result of an anomaly detector."""

    model: str
    value: float | None = msgspec.field(name="anomaly_score")
    fingerprint: str | None = None


class Classifications(Struct, frozen=True):
    results: tuple[Classified, ...]


class Anomalies(Struct, frozen=True):
    results: tuple[Spotted, ...]


_ANSWERS: Final[dict[str, type[Classifications | Anomalies]]] = {
    "binary-classifier": Classifications,
    "time-series-anomaly": Anomalies,
}

# ---------------------------------------------------------------------------------------------- the contract, as values


def question(received: Sequence[Received], model: MlModel) -> Request:
    """What is sent to the endpoint about these alerts."""
    alerts = [
        {
            "status": "firing",
            "labels": one.alert.labels,
            "annotations": one.alert.annotations,
            "startsAt": format_time(one.alert.starts_at),
            "fingerprint": one.alert.fingerprint,
        }
        for one in received
    ]
    headers = {"User-Agent": USER_AGENT, "Content-Type": "application/json"}
    if model.bearer_token is not None:
        headers["Authorization"] = f"Bearer {reveal(model.bearer_token)}"
    headers |= {name: reveal(value) for name, value in model.headers.items()}
    return Request("POST", model.endpoint or "", headers, encode_json({"alerts": alerts}), model.timeout)


def answers(response: Response, received: Sequence[Received], kind: str) -> list[Answer | None]:
    """One answer per alert, None where the model has none. Raises ProviderError for anything that is not that, whole."""
    if response.status == 0:
        raise ProviderError(response.body.decode("utf-8", "replace"))
    if response.status != 200:
        raise ProviderError(f"HTTP {response.status}")
    if len(response.body) > LONGEST_RESULT * (1 + len(received)):
        raise ProviderError(f"a wrong answer: {len(response.body)} bytes are too long", wrong=True)
    try:
        decoded: Classifications | Anomalies = msgspec.json.decode(response.body, type=_ANSWERS[kind])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderError(f"a wrong answer: {error}", wrong=True) from None
    results: tuple[Classified | Spotted, ...] = decoded.results
    if len(results) != len(received):
        raise ProviderError(f"a wrong answer: {len(results)} results for {len(received)} alerts", wrong=True)
    return [_answer(result, one.alert.fingerprint) for result, one in zip(results, received, strict=True)]


def _answer(result: Classified | Spotted, fingerprint: str) -> Answer | None:
    if result.fingerprint not in (None, fingerprint):
        raise ProviderError("a wrong answer: the results are not in the order of the alerts", wrong=True)
    if not 0 < len(result.model) <= LONGEST_VERSION or not result.model.isprintable():
        said = f"a wrong answer: `model` needs 1 to {LONGEST_VERSION} printable characters"
        raise ProviderError(said, wrong=True)
    if result.value is None:
        return None
    if not 0.0 <= result.value <= 1.0:  # false for NaN too
        raise ProviderError(f"a wrong answer: {result.value} is not from 0 to 1", wrong=True)
    return result.value, PREFIX + result.model


# ------------------------------------------------------------------------------------------------------------ the asking


class Providers:
    """Asks the endpoints that the configuration names. `fetch` never raises; `clock` is monotonic, in seconds."""

    def __init__(
        self, fetch: Fetch, config: Callable[[], Config], metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch, self._config, self._metrics, self._clock = fetch, config, metrics, clock
        self._breakers: list[tuple[MlModel, Breaker]] = []

    async def ask(self, received: tuple[Received, ...]) -> tuple[Received, ...]:
        """The alerts with what the endpoints said of those that fire; the same ones where nothing is configured or said."""
        models = self._models()
        if not models:
            return received
        firing = sorted((n for n, one in enumerate(received) if one.alert.firing), key=_newest_first(received))
        if not firing:
            return received
        asked = [firing[: model.max_batch] for model, _ in models]
        said = await asyncio.gather(
            *(
                self._ask(model, breaker, [received[n] for n in each])
                for (model, breaker), each in zip(models, asked, strict=True)
            )
        )
        given: dict[int, Given] = {}
        for (model, _), each, answered in zip(models, asked, said, strict=True):
            self._metrics.provider_left_out.labels(model.name).inc(len(firing) - len(each))
            for n, answer in zip(each, answered, strict=True):
                if answer is not None:
                    given[n] = _with(given.get(n) or Given(), model.type, answer)
        return tuple([replace(one, given=given[n]) if n in given else one for n, one in enumerate(received)])

    def _models(self) -> list[tuple[MlModel, Breaker]]:
        """The models to ask, each with its breaker; one whose settings changed starts with a closed one."""
        wanted = self._config().http_models
        if [model for model, _ in self._breakers] != list(wanted):
            kept = self._breakers
            self._breakers = [
                (model, next((breaker for old, breaker in kept if old == model), None) or Breaker()) for model in wanted
            ]
            self._metrics.provider_breaker.clear()
            for model, breaker in self._breakers:
                self._metrics.breaker(model.name, breaker.state)
        return self._breakers

    async def _ask(self, model: MlModel, breaker: Breaker, received: list[Received]) -> list[Answer | None]:
        """One request; all None when it fails, or when the endpoint is being left alone."""
        began = self._clock()
        nothing: list[Answer | None] = [None] * len(received)
        ticket = breaker.enter(began)
        if ticket is None:
            self._metrics.provider_requests.labels(model.name, "skipped").inc()
            return nothing
        outcome: Literal["answered", "failed", "wrong"] = "failed"
        try:
            found = answers(await self._fetch(question(received, model)), received, model.type)
            outcome = "answered"
            return found
        except Exception as error:  # noqa: BLE001 - the edge of a model: whatever it brings, alerts go on
            outcome = "wrong" if isinstance(error, ProviderError) and error.wrong else "failed"
            why = str(error) if isinstance(error, ProviderError) else type(error).__name__  # no secret is in these
            logger.warning("provider_failed", model=model.name, why=why, alerts=len(received))
            return nothing
        finally:
            now = self._clock()
            breaker.leave(ticket, now, well=outcome == "answered")
            self._metrics.provider_requests.labels(model.name, outcome).inc()
            self._metrics.provider_seconds.labels(model.name).observe(now - began)
            self._metrics.breaker(model.name, breaker.state)


def _newest_first(received: Sequence[Received]) -> Callable[[int], float]:
    """With more alerts than fit: those that started last are the ones that nobody has scored yet."""
    return lambda n: -received[n].alert.starts_at


def _with(given: Given, kind: str, answer: Answer) -> Given:
    value, version = answer
    if kind == "binary-classifier":
        return replace(given, score=value, model=version)
    return replace(given, anomaly=value, anomaly_model=version)
