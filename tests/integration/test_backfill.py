"""Prometheus's memory in the store: read in windows, through failures, and taken up where it stopped."""

from __future__ import annotations

import json
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from sidecar.cold_start import Backfill, asked_for, backfill, import_file
from sidecar.errors import SidecarError
from sidecar.intake.webhook import fingerprint_of
from sidecar.watch import prometheus as watched
from tests.acceptance.world import alert as sent
from tests.acceptance.world import webhook
from tests.fakes import Fake, FakeWebhook
from tests.integration.running import hooks, running
from tests.integration.test_cold_start import configured, line, state_of, stored, written

DAY, STEP = 86400.0, 60.0
NOW = 1_795_000_020.0  # a multiple of the step
END = NOW - 300.0  # what is younger is left to Alertmanager


class FakePrometheus(Fake):
    """Remembers firings as (labels, first sample, last sample), and answers range queries about them."""

    def __init__(self, *firings: tuple[dict[str, str], float, float], most: float = float("inf")) -> None:
        super().__init__()
        self.firings = list(firings)
        self.most = most  # samples that one query may load

    async def answer(self, record) -> web.Response:
        query = {name: values[0] for name, values in parse_qs(urlsplit(record.path).query).items()}
        start, end, step = (float(query[name]) for name in ("start", "end", "step"))
        points = int((end - start) / step + 0.001) + 1
        if points > 11_000:
            return self.error(400, "exceeded maximum resolution of 11,000 points per timeseries", "bad_data")
        if points > self.most:
            return self.error(422, "query processing would load too many samples into memory", "execution")
        times = [start + n * step for n in range(points)]
        found: dict[str, list[list]] = {}
        for labels, first, last in self.firings:
            values = [[at, "1"] for at in times if first <= at <= last]
            found.setdefault(json.dumps({"__name__": "ALERTS", "alertstate": "firing", **labels}), []).extend(values)
        result = [{"metric": json.loads(metric), "values": values} for metric, values in found.items() if values]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})

    @staticmethod
    def error(status: int, text: str, kind: str) -> web.Response:
        return web.json_response({"status": "error", "errorType": kind, "error": text}, status=status)

    @property
    def asked(self) -> list[tuple[float, float]]:
        """(start, end) of every query."""
        queries = [parse_qs(urlsplit(one.path).query) for one in self.requests]
        return [(float(query["start"][0]), float(query["end"][0])) for query in queries]


A = {"alertname": "A", "severity": "warning", "instance": "i"}
B = {"alertname": "B", "severity": "warning", "instance": "j"}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(watched, "PAUSES", (0.01, 0.01, 0.01, 0.01))


async def filled(url: str, fake: Fake, since: float = 3 * DAY, now: float = NOW, dry: bool = False, **more) -> str:
    asked = Backfill(fake.url, now - since, now, **more)
    return await backfill(configured(url), asked, dry=dry, clock=lambda: now)


async def firings(url: str) -> list[tuple[str, float, float | None]]:
    """(alertname, start, end) of every episode, seconds before END."""
    found = (await stored(url, "episodes"))["episodes"]
    return sorted((one["alertname"], one["starts_at"] - END, one["ended_at"] - END) for one in found)


async def test_firings_become_episodes(database_url):
    """As Alertmanager would have named them, without votes and without messages; what fires still is cut."""
    two_days = (A, END - 2 * DAY, END - DAY)
    async with FakePrometheus(two_days, (A, END - 600, END - 540), (B, END - 600, NOW)) as fake:
        said = await filled(database_url, fake, external={"cluster": "eu"})

    assert await firings(database_url) == [("A", -2 * DAY, STEP - DAY), ("A", -600, -480), ("B", -600, 0)]
    assert "Recorded 3 episodes of 2 alertnames" in said
    assert "1 had not ended" in said
    found = await stored(database_url)
    assert {one["fingerprint"] for one in found["episodes"]} == {
        fingerprint_of({**labels, "cluster": "eu"}) for labels in (A, B)
    }
    assert found["votes"] == found["outbox"] == []
    assert {one["verdict"] for one in found["decisions"]} == {"digest"}


async def test_windows_respect_the_limit_of_points(sqlite_url):
    """However short the step is, every moment is asked for once."""
    async with FakePrometheus((A, END - 50_000, END - 49_000)) as fake:
        await filled(sqlite_url, fake, since=60_000.0, step=1.0)

        assert len(fake.asked) == 6
        for (_, end), (start, _) in zip(fake.asked, fake.asked[1:], strict=False):
            assert start == end + 1.0
        assert (fake.asked[0][0], fake.asked[-1][1]) == (NOW - 60_000.0, END)
    assert await firings(sqlite_url) == [("A", -50_000, -48_999)]


async def test_what_is_too_much_is_asked_for_in_smaller_pieces(sqlite_url, monkeypatch):
    """For Prometheus, or for us; what it gives is the same."""
    async with FakePrometheus((A, END - DAY, END - DAY / 2), most=200) as fake:
        await filled(sqlite_url, fake)
        assert {end - start for start, end in fake.asked if end - start <= 200 * STEP} - {0}
        assert await firings(sqlite_url) == [("A", -DAY, STEP - DAY / 2)]

    monkeypatch.setattr(watched, "ANSWER_LIMIT", 100)
    async with FakePrometheus((A, END - DAY, END - DAY / 2)) as fake:
        with pytest.raises(SidecarError, match="even for one moment: narrow --match"):
            await filled(f"{sqlite_url}.other", fake)


async def test_failures_that_pass_are_tried_again(sqlite_url, capsys):
    """5xx, a connection that breaks, and silence: it says so on standard error, and goes on."""
    async with FakePrometheus((A, END - 600, END - 540)) as fake:
        fake.fail(503, "reset", "reset", "hang", (500, {}, "<html>"))  # aiohttp tries a first reset again itself
        await filled(sqlite_url, fake, timeout=0.5)

    assert await firings(sqlite_url) == [("A", -600, -480)]
    said = capsys.readouterr().err
    for words in ("status 503", "the connection broke", "no answer within 0.5 s", "trying again"):
        assert words in said


async def test_a_failure_that_stays_loses_nothing(database_url):
    """What was written before it stays, and the next run goes on after it: the same as without the failure."""
    many = [({**A, "pod": str(n)}, END - 3 * DAY + n * 240, END - 3 * DAY + n * 240 + 60) for n in range(1000)]
    long = (B, END - 3 * DAY + 600, END - DAY)
    async with FakePrometheus(*many, long) as fake:
        healthy = fake.answer

        async def dying(record):
            return await healthy(record) if len(fake.requests) <= 3 else fake.error(503, "the disk is full", "")

        fake.answer = dying
        with pytest.raises(SidecarError, match=r"status 503 \(the disk is full\), 5 times"):
            await filled(database_url, fake, since=4 * DAY)
        there = len((await stored(database_url, "episodes"))["episodes"])
        assert 0 < there < 1001

        fake.answer = healthy
        said = await filled(database_url, fake, since=4 * DAY)
        assert f"Recorded {1001 - there:,} episodes" in said

    expected = [("A", first - END, last + STEP - END) for _, first, last in many] + [("B", 600 - 3 * DAY, STEP - DAY)]
    assert await firings(database_url) == sorted(expected)
    assert all(one.ended_at is not None for one in (await state_of(database_url)).episodes.values())


async def test_a_later_run_adds_what_came_since(database_url):
    """It asks for nothing that is there, and a run right after it finds nothing."""
    async with FakePrometheus((A, END - 600, END - 540), (A, END + 600, END + 660)) as fake:
        await filled(database_url, fake)
        await filled(database_url, fake, now=NOW + DAY)
        assert fake.asked[-1][0] > END - 540
        again = await filled(database_url, fake, now=NOW + DAY)

    assert "Nothing is new: nothing was added." in again
    assert "Nothing fired: ALERTS" in again
    assert await firings(database_url) == [("A", -600, -480), ("A", 600, 720)]


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        ((400, {}, '{"status": "error", "errorType": "bad_data", "error": "parse error: x"}'), "parse error: x"),
        ((401, {}, ""), "status 401: give --bearer-token-file"),
        ((404, {}, "not found"), "status 404: --prometheus is where"),
        ((302, {"Location": "http://elsewhere/"}, ""), "redirects to http://elsewhere/"),
        ((200, {}, "<html>"), "the answer is not Prometheus's"),
        ((200, {}, '{"status": "success", "data": {"resultType": "vector", "result": []}}'), "status 200"),
    ],
)
async def test_what_will_never_work_is_said_at_once(sqlite_url, failure, why):
    """With what to do, after one request, and without the password that the URL may hold."""
    async with FakePrometheus() as fake:
        fake.fail(always=failure)
        fake.url = fake.url.replace("http://", "http://ada:hunter2@")

        with pytest.raises(SidecarError, match=why) as told:
            await filled(sqlite_url, fake)

        assert len(fake.requests) == 1
        assert "hunter2" not in str(told.value)


async def test_a_server_that_is_not_there_is_named(sqlite_url):
    """After a few tries."""
    asked = Backfill("http://127.0.0.1:9", NOW - DAY, NOW)

    with pytest.raises(SidecarError, match=r"127.0.0.1:9: no connection .*, 5 times"):
        await backfill(configured(sqlite_url), asked, dry=False, clock=lambda: NOW)


async def test_a_store_with_live_alerts_takes_no_older_history(database_url):
    """Time never runs backwards, whoever recorded what is there."""
    async with FakeWebhook() as hook, running(database_url, receivers=hooks(hook)) as sidecar:
        assert (await sidecar.post(webhook([sent("Live", ago=60), sent("Live", ago=60, ended=1)])))[0] == 200
        await sidecar.caught_up()

    now = time.time()
    async with FakePrometheus((A, now - 7200, now - 7000)) as fake:
        with pytest.raises(SidecarError, match="time never runs backwards"):
            await filled(database_url, fake, now=now)
        assert fake.requests == []


async def test_backfill_goes_on_after_an_import(database_url, tmp_path):
    """A file for what Prometheus has forgotten, and Prometheus for the rest."""
    path = written(tmp_path / "a.jsonl", line(END - 9 * DAY, END - 9 * DAY + 60))
    await import_file(configured(database_url), path, voter="history", voted_after=0.0, dry=False, clock=lambda: NOW)

    async with FakePrometheus((A, END - 600, END - 540)) as fake:
        await filled(database_url, fake)

    assert await firings(database_url) == [("A", -9 * DAY, 60 - 9 * DAY), ("A", -600, -480)]


async def test_a_dry_run_reads_everything_and_writes_nothing(database_url):
    """It says what it would record."""
    async with FakePrometheus((A, END - 600, END - 540)) as fake:
        assert "Would record 1 episodes" in await filled(database_url, fake, dry=True)
        await filled(database_url, fake)

    assert len(await firings(database_url)) == 1


# ------------------------------------------------------------------------------------------------------------ the options

OPTIONS = {
    "prometheus": "http://p:9090", "since": "90d", "until": "now", "step": "60s", "match": "ALERTS", "lookback": "5m",
    "external_label": ["cluster=eu=1"], "header": ["X-Scope-OrgID: ${TEAM}"], "bearer_token_file": None, "timeout": "60s",
}  # fmt: skip


async def test_headers_and_the_token_reach_prometheus(sqlite_url, tmp_path, monkeypatch):
    """From the environment and from a file, so that no secret is on the command line."""
    monkeypatch.setenv("TEAM", "blue")
    (tmp_path / "token").write_text("s3cret\n")
    async with FakePrometheus() as fake:
        options = {**OPTIONS, "prometheus": fake.url, "since": "1h", "bearer_token_file": str(tmp_path / "token")}
        await backfill(configured(sqlite_url), asked_for(options, NOW), dry=True, clock=lambda: NOW)

        headers = fake.requests[0].headers
    assert (headers["x-scope-orgid"], headers["authorization"]) == ("blue", "Bearer s3cret")


def test_options_become_values(monkeypatch):
    """Ages and times, in UTC unless they say otherwise."""
    monkeypatch.setenv("TEAM", "blue")
    asked = asked_for({**OPTIONS, "until": "2026-11-17T00:00+01:00"}, NOW)

    assert (asked.since, asked.until) == (NOW - 90 * DAY, 1_794_870_000.0)
    assert (asked.step, asked.lookback, asked.external) == (60.0, 300.0, {"cluster": "eu=1"})


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("prometheus", "localhost:9090", "no URL"),
        ("since", "soon", "write an age"),
        ("since", "now", "before now"),
        ("until", "91d", "before --until"),
        ("step", "60", 'did you mean "60s"'),
        ("step", "100ms", "1 s or longer"),
        ("external_label", ["cluster"], "NAME=VALUE"),
        ("header", ["secret"], "NAME:VALUE"),
        ("header", ["A: ${NOT_SET_AT_ALL}"], "NOT_SET_AT_ALL is not set"),
        ("bearer_token_file", "/nowhere/token", "No such file"),
    ],
)
def test_a_wrong_option_says_what_to_write(option, value, why):
    """At once, and without what may be a secret."""
    with pytest.raises(SidecarError, match=why):
        asked_for({**OPTIONS, "header": [], option: value}, NOW)
