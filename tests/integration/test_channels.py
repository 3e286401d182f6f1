"""Every channel over real loopback HTTP and SMTP, and what becomes of it when the other side fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from sidecar.channels import BY_NAME, SILENCE
from sidecar.channels.base import send
from sidecar.channels.email import EmailConfig
from sidecar.channels.log import LogConfig
from sidecar.channels.msteams import MsTeamsConfig
from sidecar.channels.pagerduty import PagerDutyConfig
from sidecar.channels.silence import SilenceConfig
from sidecar.channels.slack import SlackConfig
from sidecar.channels.webhook import WebhookConfig
from sidecar.domain import Outcome, Rejected, Retry, Sent
from tests.fakes import FakeAlertmanager, FakePagerDuty, FakeSlack, FakeSmtp, FakeTeams, FakeWebhook, Recorded
from tests.messages import make_message, make_silence


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def tell(session: aiohttp.ClientSession, name: str, config: Any, kind: str = "notify", ref: str = "") -> Outcome:
    return await send(session, BY_NAME[name], make_message(kind), config, ref)


# ---------------------------------------------------------------------------------------------------------------- Slack


def slack_config(fake: FakeSlack, **changes: Any) -> SlackConfig:
    return SlackConfig(**{"api_url": fake.url, "bot_token": fake.token, "channel": "#alerts", "timeout": 1, **changes})


async def test_slack_tells_one_story_in_one_message(session: aiohttp.ClientSession) -> None:
    """Notify, update, raise and resolve leave one message, edited in place, with two replies, one broadcast."""
    async with FakeSlack() as slack:
        config = slack_config(slack)
        first = await tell(session, "slack", config)
        assert isinstance(first, Sent)
        for kind in ("update", "raise", "resolve"):
            assert await tell(session, "slack", config, kind, first.ref) == first
        [message] = slack.messages
        assert message.ref == first.ref
        assert "RESOLVED" in message.text
        assert len(message.history) == 3
        assert [reply.broadcast for reply in slack.replies(message.ts)] == [True, False]


async def test_slack_posts_anew_what_somebody_deleted(session: aiohttp.ClientSession) -> None:
    """A reminder of a message that is gone is a new message with a new ref."""
    async with FakeSlack() as slack:
        first = await tell(session, "slack", slack_config(slack))
        slack.delete(slack.messages[0])
        second = await tell(session, "slack", slack_config(slack), "reminder", first.ref)
        assert isinstance(second, Sent)
        assert second.ref == slack.messages[0].ref != first.ref


async def test_slack_incoming_webhook(session: aiohttp.ClientSession) -> None:
    """An incoming webhook takes the message and gives no ref."""
    async with FakeSlack() as slack:
        assert await tell(session, "slack", SlackConfig(api_url=slack.webhook_url)) == Sent("")
        assert "HighLatency" in slack.messages[0].shown


async def test_slack_rate_limit_and_errors(session: aiohttp.ClientSession) -> None:
    """Retry-After is passed on; an error in a 200 is read; a wrong token is rejected and not shown."""
    async with FakeSlack() as slack:
        slack.fail((429, {"Retry-After": "30"}, ""), "error:is_archived")
        assert await tell(session, "slack", slack_config(slack)) == Retry("HTTP 429", 30.0)
        assert isinstance(await tell(session, "slack", slack_config(slack)), Rejected)
        wrong = await tell(session, "slack", slack_config(slack, bot_token="xoxb-other-token"))
        assert isinstance(wrong, Rejected)
        assert "invalid_auth" in wrong.why
        assert slack.messages == []


async def test_the_fake_limits_by_rate(session: aiohttp.ClientSession) -> None:
    """Beyond its limit the fake answers 429 with Retry-After, as Slack does."""
    async with FakeSlack() as slack:
        slack.limit(1, 60.0)
        assert isinstance(await tell(session, "slack", slack_config(slack)), Sent)
        assert await tell(session, "slack", slack_config(slack)) == Retry("HTTP 429: rate limited", 60.0)


async def test_the_fakes_reactions_carry_a_valid_signature() -> None:
    """A reaction from the fake is an Events API callback that Slack's own SDK verifies."""
    async with FakeSlack() as slack, FakeWebhook() as endpoint:
        assert await slack.react(endpoint.url, "U1", "-1", "C1:100.1", removed=True, event_id="Ev1") == 200
        [record] = endpoint.requests
        assert SignatureVerifier(slack.signing_secret).is_valid_request(record.body, record.headers)
        assert record.json["event_id"] == "Ev1"
        assert record.json["event"]["type"] == "reaction_removed"
        assert record.json["event"]["item"] == {"type": "message", "channel": "C1", "ts": "100.1"}


# ------------------------------------------------------------------------------------------------- the other HTTP channels


async def test_pagerduty_opens_once_and_resolves(session: aiohttp.ClientSession) -> None:
    """The same trigger twice is one incident, a resolve closes it, a trigger after that opens another."""
    async with FakePagerDuty() as pager:
        config = PagerDutyConfig(routing_key="R" * 32, url=pager.url)
        for kind in ("notify", "raise", "resolve"):
            assert await tell(session, "pagerduty", config, kind) == Sent("inc-0a1b2c")
        assert [each.state for each in pager.incidents] == ["resolved"]
        assert await tell(session, "pagerduty", config, "reminder") == Sent("inc-0a1b2c")
        await tell(session, "pagerduty", config)
        assert [each.state for each in pager.incidents] == ["resolved", "triggered"]


async def test_pagerduty_refusals_name_no_key(session: aiohttp.ClientSession) -> None:
    """A 400 is for good, with PagerDuty's words and without the routing key it repeats."""
    async with FakePagerDuty() as pager:
        pager.fail((400, {}, f"'routing_key' {'S' * 32} is invalid"))
        outcome = await tell(session, "pagerduty", PagerDutyConfig(routing_key="S" * 32, url=pager.url))
        assert outcome == Rejected("HTTP 400: 'routing_key' ***** is invalid")


async def test_teams_takes_the_card(session: aiohttp.ClientSession) -> None:
    """A notify and a resolve are two cards; an update is none."""
    async with FakeTeams() as teams:
        config = MsTeamsConfig(webhook_url=teams.url)
        for kind in ("notify", "update", "resolve"):
            assert await tell(session, "msteams", config, kind) == Sent("")
        assert [card["body"][0]["inlines"][0]["color"] for card in teams.cards] == ["Attention", "Good"]


async def test_webhook_posts_alertmanagers_body(session: aiohttp.ClientSession) -> None:
    """The body arrives, with the configured credentials."""
    async with FakeWebhook() as hook:
        auth = {"basic_auth": {"username": "u", "password": "p"}}
        assert await tell(session, "webhook", WebhookConfig(url=hook.url, http_config=auth)) == Sent("")
        assert hook.bodies[0]["version"] == "4"
        assert hook.requests[0].headers["authorization"] == "Basic dTpw"


async def test_log_appends_to_its_file(session: aiohttp.ClientSession, tmp_path) -> None:
    """Two messages are two boxes in the file; one that cannot be written is tried again."""
    path = tmp_path / "messages.txt"
    for kind in ("notify", "resolve"):
        assert await tell(session, "log", LogConfig(path=str(path)), kind) == Sent("")
    assert path.read_text().count("┌─") == 2
    outcome = await tell(session, "log", LogConfig(path=str(tmp_path)))
    assert outcome == Retry("the file cannot be written: Is a directory")


async def test_log_prints(session: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a path the box is printed."""
    await tell(session, "log", LogConfig())
    assert "HighLatency on checkout" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------- silences


async def test_a_silence_is_created_reused_and_extended(session: aiohttp.ClientSession) -> None:
    """The same request twice makes one silence; a later end extends it, with the same id."""
    async with FakeAlertmanager() as alertmanager:
        config, end = SilenceConfig(url=alertmanager.url), time.time() + 3600
        refs = [
            await send(session, SILENCE, make_silence(ends_at=end + more), config) for more in (0.0, 0.0, 7200.0, 0.0)
        ]
        [silence] = alertmanager.active
        assert refs == [Sent(silence["id"])] * 4
        assert [record.method for record in alertmanager.requests] == ["GET", "POST", "GET", "GET", "POST", "GET"]


async def test_a_silence_goes_to_the_peer_that_answers(session: aiohttp.ClientSession) -> None:
    """When the first Alertmanager fails, the second gets the silence; a refusal is for good."""
    async with FakeAlertmanager() as first, FakeAlertmanager() as second:
        first.fail(always=503)
        config = SilenceConfig(url=[first.url, second.url])
        outcome = await send(session, SILENCE, make_silence(ends_at=time.time() + 60), config)
        assert outcome == Sent(second.active[0]["id"])
        late = await send(
            session, SILENCE, make_silence(ends_at=time.time() - 60, matchers=(("alertname", "X"),)), config
        )
        assert late == Rejected("Alertmanager refuses the silence: end time can't be in the past")


# ------------------------------------------------------------------------------------------------------- failures of HTTP


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (503, Retry("HTTP 503: scripted 503")),
        ((503, {"Retry-After": "9"}, ""), Retry("HTTP 503", 9.0)),
        (404, Rejected("HTTP 404: scripted 404")),
        ("hang", Retry("no answer within 0.3 s")),
        ("reset", Retry("the connection broke (ServerDisconnectedError)")),
    ],
)
async def test_failures_are_classified(session: aiohttp.ClientSession, failure: Any, outcome: Outcome) -> None:
    """A server that errs, hangs or resets ends as the outcome that fits, never as an exception."""
    async with FakeWebhook() as hook:
        hook.fail(failure)
        assert await tell(session, "webhook", WebhookConfig(url=hook.url, timeout=0.3)) == outcome


async def test_redirects_are_not_followed(session: aiohttp.ClientSession) -> None:
    """A redirect is refused and its target never asked: it would get our alerts and credentials."""
    async with FakeWebhook() as hook, FakeWebhook() as elsewhere:
        hook.fail((307, {"Location": elsewhere.url}, ""))
        outcome = await tell(session, "webhook", WebhookConfig(url=hook.url))
        assert isinstance(outcome, Rejected)
        assert "redirects are not followed" in outcome.why
        assert elsewhere.requests == []


async def test_a_refused_connection_is_tried_again(session: aiohttp.ClientSession, unused_tcp_port: int) -> None:
    """Nobody listening is a Retry whose sentence does not show the URL's path."""
    config = WebhookConfig(url=f"http://127.0.0.1:{unused_tcp_port}/secretpath1")
    outcome = await tell(session, "webhook", config)
    assert isinstance(outcome, Retry)
    assert "connection failed" in outcome.why
    assert "secretpath1" not in outcome.why


async def test_an_unknown_host_is_tried_again(session: aiohttp.ClientSession) -> None:
    """A name without an address is a Retry that names it."""
    outcome = await tell(session, "webhook", WebhookConfig(url="http://nowhere.invalid/x", timeout=5))
    assert isinstance(outcome, Retry)
    assert "nowhere.invalid" in outcome.why or "no answer" in outcome.why


async def test_tls_is_verified_unless_told_otherwise(session: aiohttp.ClientSession) -> None:
    """A self-signed certificate is refused by default, taken with its CA file or when told not to verify."""
    async with FakeSmtp() as certificate:  # only for its certificate
        taken: list[Recorded] = []

        async def hook(request: web.Request) -> web.Response:
            taken.append(Recorded(request.method, request.path, {}, await request.read(), 0.0))
            return web.Response()

        app = web.Application()
        app.router.add_post("/", hook)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate.context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
        outcomes = [
            await tell(session, "webhook", WebhookConfig(url=url, http_config={"tls_config": tls}))
            for tls in ({}, {"ca_file": certificate.ca_file}, {"insecure_skip_verify": True})
        ]
        await runner.cleanup()
    assert outcomes == [Retry("TLS: the server's certificate does not verify"), Sent(""), Sent("")]
    assert len(taken) == 2


async def test_an_error_that_repeats_the_credentials_is_redacted(session: aiohttp.ClientSession) -> None:
    """A server that quotes our Authorization header or URL back does not get them into the records."""
    async with FakeWebhook() as hook:
        auth = {"basic_auth": {"username": "someuser", "password": "hunter22"}}
        config = WebhookConfig(url=f"{hook.base}/hooks/verysecret", http_config=auth)
        hook.fail((403, {}, "x" * 285 + "c29tZXVzZXI6aHVudGVyMjI= hunter22 /hooks/verysecret"))
        outcome = await tell(session, "webhook", config)
        assert isinstance(outcome, Rejected)
        assert not [secret for secret in ("c29t", "hunter", "verysecret") if secret in outcome.why]


# ----------------------------------------------------------------------------------------------------------------- e-mail


def mail_config(smtp: FakeSmtp, **changes: Any) -> EmailConfig:
    given = {
        "to": "a@example.org, b@example.org",
        "from": "Alerts <alerts@example.org>",
        "smarthost": smtp.smarthost,
        "tls_config": {"ca_file": smtp.ca_file},
        "timeout": 3,
        **changes,
    }
    return EmailConfig(**given)


async def test_mail_arrives_under_tls_with_auth(session: aiohttp.ClientSession) -> None:
    """STARTTLS with a verified certificate, AUTH, both recipients, both parts, and a Date."""
    async with FakeSmtp(user="alerts", password="hunter22") as smtp:
        config = mail_config(smtp, auth_username="alerts", auth_password="hunter22")
        assert await tell(session, "email", config) == Sent("")
        [mail] = smtp.mails
        assert (mail.tls, mail.user, mail.sender) == (True, "alerts", "alerts@example.org")
        assert mail.recipients == ["a@example.org", "b@example.org"]
        assert mail.message["Subject"] == "[FIRING] HighLatency - artemis/payments"
        assert mail.message["Date"].datetime.timestamp() == pytest.approx(time.time(), abs=60)
        assert "p95 is 2.4 s" in mail.part("plain")
        assert "<h2>FIRING: HighLatency on checkout (payments)</h2>" in mail.part("html")


async def test_mail_without_starttls_is_not_sent(session: aiohttp.ClientSession) -> None:
    """When TLS is required and not offered nothing is sent; with require_tls: false it goes readably."""
    async with FakeSmtp(starttls=False) as smtp:
        outcome = await tell(session, "email", mail_config(smtp))
        assert isinstance(outcome, Retry)
        assert "STARTTLS" in outcome.why
        assert smtp.mails == []
        assert await tell(session, "email", mail_config(smtp, require_tls=False)) == Sent("")
        assert smtp.mails[0].tls is False


async def test_mail_refuses_a_certificate_that_does_not_verify(session: aiohttp.ClientSession) -> None:
    """Without its CA the server's certificate is refused before anything is said."""
    async with FakeSmtp() as smtp:
        outcome = await tell(session, "email", mail_config(smtp, tls_config={}))
        assert outcome == Retry("TLS: the server's certificate does not verify")
        assert await tell(session, "email", mail_config(smtp, tls_config={"insecure_skip_verify": True})) == Sent("")


async def test_mail_with_a_wrong_password_is_rejected(session: aiohttp.ClientSession) -> None:
    """A refused login is for good, and the password is not shown."""
    async with FakeSmtp(user="alerts", password="right-one") as smtp:
        config = mail_config(smtp, auth_username="alerts", auth_password="wrong-one")
        outcome = await tell(session, "email", config)
        assert isinstance(outcome, Rejected)
        assert outcome.why.startswith("SMTP 535")
        assert "wrong-one" not in outcome.why


async def test_a_recipient_refused_for_good_does_not_keep_the_mail_from_others(session: aiohttp.ClientSession) -> None:
    """A 5xx for one recipient: the others get the mail once, and the ref names who was refused."""
    async with FakeSmtp() as smtp:
        smtp.refuse = {"a@example.org": "550 5.1.1 unknown"}
        assert await tell(session, "email", mail_config(smtp)) == Sent("refused for good: a@example.org")
        assert [mail.recipients for mail in smtp.mails] == [["b@example.org"]]
        smtp.refuse["b@example.org"] = "550 5.1.1 unknown"
        assert isinstance(await tell(session, "email", mail_config(smtp)), Rejected)


async def test_a_recipient_refused_for_now_postpones_the_mail_for_all(session: aiohttp.ClientSession) -> None:
    """A 4xx for one recipient sends nothing to anybody yet, so that the retry repeats nothing."""
    async with FakeSmtp() as smtp:
        smtp.refuse = {"b@example.org": "451 4.7.1 greylisted"}
        outcome = await tell(session, "email", mail_config(smtp))
        assert isinstance(outcome, Retry)
        assert "greylisted" in outcome.why
        assert smtp.mails == []
        smtp.refuse = {}
        assert await tell(session, "email", mail_config(smtp)) == Sent("")
        assert [mail.recipients for mail in smtp.mails] == [["a@example.org", "b@example.org"]]


@pytest.mark.parametrize(
    ("failure", "words"), [("421 4.3.0 busy", "busy"), ("hang", "no answer within"), ("reset", "connection")]
)
async def test_mail_failures_are_tried_again(session: aiohttp.ClientSession, failure: str, words: str) -> None:
    """A server that is busy, hangs or resets is a Retry; the next try has the same Message-ID."""
    async with FakeSmtp() as smtp:
        smtp.fail(failure)
        outcome = await tell(session, "email", mail_config(smtp, timeout=0.7))
        assert isinstance(outcome, Retry)
        assert words in outcome.why
        for _ in range(2):
            assert await tell(session, "email", mail_config(smtp)) == Sent("")
        assert len({mail.message["Message-ID"] for mail in smtp.mails}) == 1


async def test_one_slow_server_does_not_hold_up_another(session: aiohttp.ClientSession) -> None:
    """While one destination hangs until its timeout, another one's message goes through at once."""
    async with FakeWebhook() as slow, FakeWebhook() as quick:
        slow.fail("hang")
        hanging = asyncio.create_task(tell(session, "webhook", WebhookConfig(url=slow.url, timeout=1)))
        await slow.wait_for(1)
        begun = time.monotonic()
        assert await tell(session, "webhook", WebhookConfig(url=quick.url)) == Sent("")
        assert time.monotonic() - begun < 0.8
        assert isinstance(await hanging, Retry)
