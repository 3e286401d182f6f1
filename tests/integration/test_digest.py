"""The digest in a running sidecar: what it says on each channel, how people answer it, and that it comes once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.__main__ import main
from sidecar.decider import Work
from sidecar.domain import Delivery, Pattern
from sidecar.events import SilenceAsked, SilenceEnded, SilenceSettled
from sidecar.store.log import append
from sidecar.why import tell
from tests.acceptance.world import alert, webhook, within
from tests.fakes import FakeSlack, FakeSmtp, FakeTeams, FakeWebhook
from tests.integration.running import Running, running

DAY = 86400.0
URL = "https://sidecar.example.org/base/"
LINK = re.compile(r"https://sidecar\.example\.org/base(/v/[A-Za-z0-9_-]+)")
VOTES = "SELECT who, kind, retracted, source, episode FROM votes ORDER BY who, episode"
ALWAYS = {"always": {"schedule": "* * * * *", "routes": {"INFO": [], "WARNING": ["team"], "CRITICAL": ["team"]}}}


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as started:
        yield started


@pytest.fixture
async def smtp() -> AsyncIterator[FakeSmtp]:
    async with FakeSmtp() as started:
        yield started


@pytest.fixture
async def hook() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as started:
        yield started


@pytest.fixture
def settings(slack, smtp, hook) -> dict[str, Any]:
    """A team with Slack and e-mail, and a default receiver with a webhook."""
    chat = {"api_url": slack.url, "bot_token": slack.token, "channel": "#alerts"}
    mail = {"to": "team@example.org", "from": "alerts@example.org", "smarthost": smtp.smarthost}
    mail |= {"tls_config": {"ca_file": smtp.ca_file}, "hello": "localhost"}
    return {
        "receivers": [
            {"name": "default", "webhook_configs": [{"url": hook.url}]},
            {"name": "team", "slack_configs": [chat], "email_configs": [mail]},
        ],
        "delivery": {"rates": {"slack": 1000, "webhook": 1000, "email": 1000}, "max_backoff": "1s"},
        "slack": {"signing_secret": slack.signing_secret},
        "server": {"external_url": URL, "api_secret": "an api secret"},
        "time_based_routing": ALWAYS,
    }


@pytest.fixture
async def sidecar(database_url, settings) -> AsyncIterator[Running]:
    async with running(database_url, **settings) as started:
        yield started


def later(sidecar: Running, seconds: float = DAY) -> None:
    """Turn its clock on: everything in it goes by the same one."""
    sidecar.parts.clock._offset += seconds


async def keep_back(sidecar: Running, *names: str, severity: str = "WARNING", **labels: str) -> list[str]:
    """Alerts that had cleared before they were heard of; returns their episodes."""
    alerts = [
        alert(name, ago=400, ended=100, severity=severity, pod=f"pod-{n}", **labels) for n, name in enumerate(names)
    ]
    assert await sidecar.post(webhook(alerts, "kept")) == (200, "ok")
    await sidecar.caught_up()
    return [row["episode"] for row in await sidecar.rows("SELECT episode FROM episodes ORDER BY labels")]


async def digested(slack: FakeSlack) -> Any:
    """The digest in Slack."""
    return await within(20, lambda: next((post for post in slack.messages if "kept back" in post.text), None))


async def votes(sidecar: Running) -> list[tuple[str, str, bool]]:
    await sidecar.caught_up()
    return [(row["who"], row["kind"], bool(row["retracted"])) for row in await sidecar.rows(VOTES)]


# ------------------------------------------------------------------------------------------------------- what it says


async def test_what_was_kept_back_is_summed_up_the_next_morning_on_each_channel(sidecar, slack, smtp, hook):
    """One line per kind, those without an answer first, with counts, the usual length and the reason; once."""
    episodes = await keep_back(sidecar, "Flaky", "Flaky", "Flaky", "Rare", service="checkout", namespace="payments")
    await keep_back(sidecar, "Chatter", severity="INFO", instance="i1")
    assert (await sidecar.vote(episodes[1], headers={"Authorization": "Bearer an api secret"}))[0] in (200, 401)
    assert slack.messages == []
    later(sidecar)
    post = await digested(slack)
    assert "4 alerts were kept back, of 2 kinds" in post.shown
    assert post.shown.index("Flaky on checkout (payments)") < post.shown.index("Rare on checkout (payments)")
    assert "3 times, over after 5 min as a rule" in post.shown
    assert "it had cleared before it was first heard of" in post.shown
    assert "React 👎 noise" in post.shown
    await smtp.wait_for(1)
    (mail,) = smtp.mails
    assert "4 alerts were kept back" in mail.message["Subject"]
    assert "Flaky on checkout (payments) · WARNING" in mail.part("plain")
    assert "React" not in mail.part("plain")
    assert len(set(LINK.findall(mail.part("html")))) == 4
    await hook.wait_for(1)
    (body,) = hook.bodies
    assert (body["alerts"], body["sidecar"]["kind"], body["sidecar"]["receiver"]) == ([], "digest", "default")
    assert [(line["alertname"], line["count"]) for line in body["sidecar"]["lines"]] == [("Chatter", 1)]
    rows = await sidecar.rows("SELECT receiver, kind, state FROM outbox ORDER BY receiver")
    assert [(row["receiver"], row["kind"]) for row in rows] == [
        ("default/webhook/0", "digest"), ("team/email/0", "digest"), ("team/slack/0", "digest")
    ]  # fmt: skip
    assert await sidecar.metric('sidecar_digests_total{what="digest"}') == 3
    assert await sidecar.metric("sidecar_digest_lines_total") == 5
    story = await tell(sidecar.parts.database, "Rare")
    assert re.search(r"in the digest of team \(digest-team-\d+\)", story)
    later(sidecar, 60)
    await sidecar.parts.decider.submit(Work())
    assert await sidecar.count("SELECT count(*) FROM outbox") == 3


async def test_folded_alerts_are_a_count_and_what_was_told_is_no_line(sidecar, slack):
    """Three of one group: one message, two that joined it; and a critical one is told, not kept back."""
    await keep_back(sidecar, "Flaky")
    told = [alert("HighErrorRate", pod=pod, severity="WARNING") for pod in "abc"]
    assert await sidecar.post(webhook(told, "told")) == (200, "ok")
    assert await sidecar.post(webhook([alert("Down", ago=400, ended=100, severity="CRITICAL")], "x")) == (200, "ok")
    await sidecar.caught_up()
    later(sidecar)
    post = await digested(slack)
    assert "1 alert was kept back, of one kind" in post.shown
    assert "2 alerts more joined incidents that had been told" in post.shown
    assert "HighErrorRate" not in post.shown
    assert "Down" not in post.shown


async def test_a_digest_that_a_channel_refused_for_a_while_says_the_same_when_it_comes(sidecar, slack):
    """A vote in between changes no line: links and reactions are about what was said."""
    await keep_back(sidecar, "Flaky", "Rare")
    slack.fail(503, 503)
    later(sidecar)
    await slack.wait_for(2)
    post = await digested(slack)
    bodies = [request.json["text"] for request in slack.requests if "kept back" in request.json.get("text", "")]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    assert await sidecar.count("SELECT count(*) FROM digests WHERE receiver = 'team'") == 1
    assert post.ref


async def test_a_restart_over_nine_oclock_sends_it_late_and_once(sqlite_url, settings, slack):
    """Also when the state comes from a snapshot."""
    async with running(sqlite_url, **settings) as first:
        await keep_back(first, "Flaky")
    for _ in range(2):
        async with running(sqlite_url, **settings) as again:
            later(again, 3 * DAY)
            await digested(slack)
            await again.parts.decider.submit(Work())
            await again.caught_up()
    assert len([post for post in slack.messages if "kept back" in post.text]) == 1


async def test_two_replicas_send_one_digest(postgres_url, settings, slack):
    """Both see that it is due at the same moment; the log lets one of them say so."""
    async with running(postgres_url, **settings) as one, running(postgres_url, **settings) as two:
        await keep_back(one, "Flaky")
        for each in (one, two):
            later(each)
        await digested(slack)
        for each in (one, two):
            await each.parts.decider.catch_up()
            await each.parts.decider.submit(Work())
        assert await one.count("SELECT count(*) FROM outbox WHERE receiver = 'team/slack/0' AND kind = 'digest'") == 1
    assert len([post for post in slack.messages if "kept back" in post.text]) == 1


async def test_a_digest_that_cannot_be_composed_is_parked_and_the_queue_moves_on(sidecar, slack):
    """With the reason, as a dead letter; what comes after it is sent."""
    odd = Delivery("odd/team/slack/0", "team/slack/0", "odd", "digest", sidecar.parts.clock() - 2 * DAY, body="{}")
    async with sidecar.parts.database.write() as connection:
        await append(connection, 0, sidecar.parts.decider.state.seq, sidecar.parts.clock(), (), (odd,))
    row = await within(
        20, lambda: sidecar.rows("SELECT state, why FROM outbox WHERE incident = 'odd' AND state = 'dead'")
    )
    assert "could not be composed" in row[0]["why"]
    await keep_back(sidecar, "Flaky")
    later(sidecar)
    await digested(slack)


# --------------------------------------------------------------------------------------------------------- reactions


async def test_a_reaction_on_a_digest_is_a_vote_on_all_that_this_person_has_not_answered(sidecar, slack):
    """What somebody said of one alert by itself stays; the reaction's removal takes back its own votes alone."""
    episodes = await keep_back(sidecar, "Flaky", "Flaky", "Rare")
    head = {"Authorization": "Bearer an api secret"}
    body = {"who": "U1", "kind": "useful", "episodes": [episodes[0]]}
    assert (await sidecar.request("POST", "/api/v2/feedback", json=body, headers=head))[0] == 200
    later(sidecar)
    post = await digested(slack)
    await within(10, lambda: sidecar.count("SELECT count(*) FROM messages WHERE incident LIKE 'digest-%'"))
    url = sidecar.url + "/slack/events"
    at = sidecar.parts.clock()
    assert await slack.react(url, "U1", "-1", post.ref, at=at) == 200
    assert await votes(sidecar) == [("U1", "useful", False), *[("U1", "false_positive", False)] * 2]
    assert await slack.react(url, "U2", "+1", post.ref, at=at) == 200
    assert (await votes(sidecar))[3:] == [("U2", "useful", False)] * 3
    assert await slack.react(url, "U1", "-1", post.ref, removed=True, at=at) == 200
    assert (await votes(sidecar))[:3] == [("U1", "useful", False), *[("U1", "false_positive", True)] * 2]


async def test_the_api_takes_a_digest_for_an_incident(sidecar, slack):
    """As its last line says where there are no links."""
    await keep_back(sidecar, "Flaky", "Flaky")
    later(sidecar)
    await digested(slack)
    (row,) = await sidecar.rows("SELECT digest FROM digests")
    head = {"Authorization": "Bearer an api secret"}
    body = {"who": "ada", "kind": "false_positive", "incident": row["digest"]}
    answer = await sidecar.request("POST", "/api/v2/feedback", json=body, headers=head)
    assert answer == (200, '{"counted": 2}')
    assert await sidecar.request("POST", "/api/v2/feedback", json=body, headers=head) == (200, '{"counted": 0}')
    body["incident"] = "digest-nobody-1"
    assert (await sidecar.request("POST", "/api/v2/feedback", json=body, headers=head))[0] == 404


async def test_without_a_url_of_its_own_a_digest_says_how_to_answer(database_url, settings, hook):
    """By the API, and with its name."""
    settings["server"] = {}
    async with running(database_url, **settings) as sidecar:
        await keep_back(sidecar, "Chatter", severity="INFO")
        later(sidecar)
        await hook.wait_for(1)
        said = hook.bodies[0]["sidecar"]
        assert said["lines"][0]["links"] == {}
        assert said["foot"] == [f'To answer all: POST /api/v2/feedback with "incident": "{said["incident"]}"']


# ------------------------------------------------------------------------------------------------------------- links


@pytest.fixture
async def links(sidecar, smtp) -> list[str]:
    """The paths of a digest's links: noise and real of its first line (two alerts), then of its second (one)."""
    await keep_back(sidecar, "Flaky", "Flaky", "Rare")
    later(sidecar)
    await smtp.wait_for(1)
    return LINK.findall(smtp.mails[0].part("plain"))


async def press(sidecar: Running, path: str, **form: str) -> tuple[int, str]:
    return await sidecar.request("POST", path, data=form)


async def test_opening_a_link_votes_for_nothing_and_its_button_does(sidecar, links):
    """Scanners open every link; the button's POST is the vote, of everything in that line and of nothing else."""
    assert len(links) == 4
    for path in links * 2:
        status, page = await sidecar.request("GET", path)
        assert status == 200
        assert "on the" not in page or "<script" not in page
        assert (await sidecar.request("HEAD", path))[0] == 200
    assert await votes(sidecar) == []
    status, page = await press(sidecar, links[0], who="ada")
    assert (status, "2 alerts counted as noise, by ada" in page) == (200, True)
    assert await votes(sidecar) == [("ada", "false_positive", False)] * 2
    assert {row["source"] for row in await sidecar.rows(VOTES)} == {"link"}
    assert await sidecar.metric('sidecar_feedback_total{kind="false_positive",source="link"}') == 1
    await press(sidecar, links[3], who="ada")
    assert (await votes(sidecar)).count(("ada", "useful", False)) == 1


async def test_a_press_that_is_repeated_counts_once_and_can_be_changed_and_undone(sidecar, links):
    """The newest answer of a person counts; undoing takes back that answer."""
    for _ in range(3):
        await press(sidecar, links[0], who="ada")
    head = sidecar.parts.decider.state.seq
    _, page = await press(sidecar, links[0], who="ada")
    assert "Nothing new to count" in page
    assert sidecar.parts.decider.state.seq == head
    assert await votes(sidecar) == [("ada", "false_positive", False)] * 2
    await press(sidecar, links[1], who="ada")
    assert await votes(sidecar) == [("ada", "useful", False)] * 2
    _, page = await press(sidecar, links[0], who="ada", undo="1")
    assert await votes(sidecar) == [("ada", "useful", False)] * 2
    _, page = await press(sidecar, links[1], who="ada", undo="1")
    assert "taken back" in page
    assert await votes(sidecar) == [("ada", "useful", True)] * 2


async def test_a_name_is_remembered_by_the_browser_and_somebody_without_one_is_somebody(sidecar, links):
    """All of them are one voter, of that receiver."""
    async with sidecar.client.session.post(
        sidecar.url + links[0], data={"who": ' Ada "<b>" Lovelace\r\nX: y '}
    ) as answer:
        cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" in cookie
    assert "Path=/base/v/" in cookie
    value = cookie.split(";")[0]
    _, page = await sidecar.request("GET", links[0], headers={"Cookie": value})
    assert 'value="Ada &#34;&lt;b&gt;&#34; Lovelace X: y"' in page
    for _ in range(2):
        _, page = await press(sidecar, links[2])
        assert "by somebody via team" in page or "somebody via team had answered" in page
    assert [row["who"] for row in await sidecar.rows(VOTES)][-1] == "somebody via team"


async def test_the_page_loads_nothing_and_forbids_it(sidecar, links):
    """Its policy allows its own style and its own form; it is neither cached, framed, indexed nor redirected."""
    async with sidecar.client.session.get(sidecar.url + links[0], allow_redirects=False) as answer:
        page, heads = await answer.text(), answer.headers
    assert heads["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'; frame-ancestors 'none'" in heads["Content-Security-Policy"]
    assert (heads["Cache-Control"], heads["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert not re.search(r"<script|<link|<img|src=|url\(|@import|href=", page)
    assert '<html lang="en">' in page
    assert '<label for="who">' in page
    assert page.count("<button") == 1


async def test_what_is_no_link_of_ours_is_404_and_votes_for_nothing(sidecar, links):
    """Forged, cut, changed in any letter, of another key, ten kilobytes, and odd spellings of the same bytes."""
    path = links[0]
    forged = [
        path[:-1],
        path[:30],
        path + "A",
        path + "=",
        path + "%3D",
        "/v/" + "A" * 44,
        "/v/" + "A" * 3000,
        "/v/ü",
        "/v/%00",
    ]
    forged += ["/v/" + path[3:][:n] + ("A" if path[3:][n] != "A" else "B") + path[3:][n + 1 :] for n in range(0, 80, 7)]
    for each in forged:
        for method in ("GET", "POST"):
            status, page = await sidecar.request(method, each, data={"who": "eve"} if method == "POST" else None)
            assert status == 404, each
            assert "Not found" in page
    status, _ = await sidecar.request("GET", "/v/" + "A" * 10_000)
    assert 400 <= status < 500
    assert await votes(sidecar) == []


async def test_a_link_to_a_digest_that_is_not_stored_is_404(sidecar, links):
    """Signed, but of another database."""
    async with sidecar.parts.database.write() as connection:
        await connection.exec_driver_sql("DELETE FROM digests")
    for method in ("GET", "POST"):
        assert (await sidecar.request(method, links[0]))[0] == 404


async def test_a_link_is_good_for_sixty_days(sidecar, links):
    """Then it is 410, as a vote by the API would be."""
    later(sidecar, 60 * DAY - 600)
    assert (await sidecar.request("GET", links[0]))[0] == 200
    later(sidecar, 1200)
    for method in ("GET", "POST"):
        status, page = await sidecar.request(method, links[0])
        assert (status, "Too old" in page) == (410, True)


@pytest.mark.parametrize("body", [b"who=" + b"x" * 9000, b"&".join(b"a%d=1" % n for n in range(50))])
async def test_a_form_that_is_none_is_400(sidecar, links, body):
    """Too long, or with too many fields."""
    status, _ = await sidecar.request(
        "POST", links[0], data=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert status == 400
    assert await votes(sidecar) == []


async def test_mails_and_cards_of_ordinary_alerts_have_the_links_too(database_url, settings, smtp, hook):
    """They cannot take reactions; Slack's messages can, and have none."""
    async with FakeTeams() as teams:
        settings["receivers"][1]["msteams_configs"] = [{"webhook_url": teams.url}]
        async with running(database_url, **settings) as sidecar:
            await sidecar.post(webhook([alert("HighErrorRate", severity="WARNING", pod=pod) for pod in "ab"], "g"))
            await smtp.wait_for(1)
            await teams.wait_for(1)
            noise, real = LINK.findall(smtp.mails[0].part("plain"))
            actions = teams.cards[0]["actions"]
            assert [LINK.match(action["url"])[1] for action in actions[:2]] == [noise, real]
            status, page = await sidecar.request("GET", noise)
            assert (status, "HighErrorRate" in page, "2 alerts" in page) == (200, True, True)
            _, page = await press(sidecar, noise, who="ada")
            assert "2 alerts counted as noise" in page
            assert await votes(sidecar) == [("ada", "false_positive", False)] * 2
            _, page = await press(sidecar, noise, who="ada")
            assert "Nothing new" in page
            await press(sidecar, noise, who="ada", undo="1")
            assert await votes(sidecar) == [("ada", "false_positive", True)] * 2


# ---------------------------------------------------------------------------------------------------------- bulletins


def written(pattern: Pattern, now: float, until: float, *evidence: str) -> tuple[SilenceAsked, SilenceSettled]:
    comment = "5 of 5 episodes voted noise; ends by itself"
    asked = SilenceAsked(now, pattern, until, "false_positive", comment, evidence)
    return asked, SilenceSettled(now, pattern, "active", f"s-{pattern.service}")


async def test_the_end_of_a_silence_says_what_it_hid_and_why_it_ended(sidecar, slack):
    """To the receiver of its alerts."""
    pattern, now = Pattern("Flaky", "payments", "checkout", "WARNING"), sidecar.parts.clock()
    ended = SilenceEnded(now, pattern, "s-checkout", "somebody called an incident of it real", 12, "votes")
    await sidecar.parts.decider.submit(Work(asks=(*written(pattern, now - 7200, now + 60, "e-1", "e-2"), ended)))
    post = await within(20, lambda: slack.messages and slack.messages[0])
    assert "the silence for Flaky on checkout (payments) · WARNING is over" in post.shown
    assert "It hid 12 alerts in 2 h." in post.shown
    assert "Somebody called an incident of it real." in post.shown
    assert "It stood on 2 alerts called noise." in post.shown
    assert "5 of 5 episodes voted noise" in post.shown


async def test_silences_are_reviewed_weekly(sidecar, hook):
    """What each hid, on which evidence, how it ended, and what stands."""
    now = sidecar.parts.clock()
    over, standing = Pattern("Flaky", "", "checkout", "WARNING"), Pattern("Rare", "", "db", "WARNING")
    events = (
        *written(over, now, now + DAY, "e-1"), *written(standing, now, now + 30 * DAY, "e-2", "e-3"),
        SilenceEnded(now, over, "s-checkout", "its time was over", 7),
    )  # fmt: skip
    await sidecar.parts.decider.submit(Work(asks=events))
    await sidecar.caught_up()
    later(sidecar, 7 * DAY)
    said = await within(
        20, lambda: next((b["sidecar"] for b in hook.bodies if b["sidecar"].get("what") == "review"), None)
    )
    assert said["title"] == "silences of the sidecar: 1 standing, 1 over"
    assert [line["title"] for line in said["lines"]] == ["Rare on db · WARNING", "Flaky on checkout · WARNING"]
    assert (said["lines"][0]["standing"], said["lines"][0]["evidence"], said["lines"][1]["hidden"]) == (True, 2, 7)
    assert "its time was over; it hid 7 alerts" in json.dumps(said["lines"][1]["facts"])


# -------------------------------------------------------------------------------------------------------- the command


async def test_the_command_prints_what_the_next_digest_would_say(database_url, settings, tmp_path, capsys, hook):
    """And sends nothing."""
    import asyncio

    import yaml

    settings["store"] = {"url": database_url}
    file = tmp_path / "sidecar.yml"
    file.write_text(yaml.safe_dump(settings))
    url = settings.pop("store")["url"]
    async with running(url, **settings) as sidecar:
        await keep_back(sidecar, "Flaky", "Flaky", service="checkout")
        await sidecar.caught_up()
        found = await asyncio.to_thread(main, ["digest", "--config", str(file), "--receiver", "team", "--since", "24h"])
        shown = capsys.readouterr().out
        assert found == 0
        assert "2 alerts were kept back, of one kind" in shown
        assert "Flaky on checkout · WARNING" in shown
        assert await asyncio.to_thread(main, ["digest", "--config", str(file), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["title"] == "nothing was kept back"
        assert await asyncio.to_thread(main, ["digest", "--config", str(file), "--receiver", "nobody"]) == 1
        assert "there is no receiver 'nobody'" in capsys.readouterr().err
        assert await sidecar.count("SELECT count(*) FROM outbox") == 0
    assert time.time() > 0
