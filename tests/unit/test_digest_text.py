"""What a digest says: lines, counts, order, and that labels stay labels."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from sidecar.channels import BY_NAME
from sidecar.config import Config, loads, warnings
from sidecar.delivery.bulletins import answerable
from sidecar.delivery.digest import LISTED, digest_of, ending_of, review_of
from sidecar.domain import Pattern
from sidecar.events import DigestDue, ReviewDue, SilenceEnded
from sidecar.links import read
from sidecar.store.digests import MOST, Kept
from sidecar.store.silences import SilenceRow
from tests.conformance.test_channels import check_limits
from tests.messages import make_config

NOW = 1_795_600_800.0  # 2026-11-25 10:00 UTC
DUE = DigestDue(NOW, "team", NOW - 86400, NOW, ("team",))
EVIL = "<script>x</script> <!channel> @here \u202egnp\r\nBcc: all@example.org [x](javascript:x) & 'quoted'"


def kept(
    number: int = 0, name: str = "Flaky", *, answered: bool = False, lasted: float | None = 300.0, **changes: Any
) -> Kept:
    labels = {"alertname": name, "service": "checkout", "namespace": "payments", "severity": "warning"}
    labels |= {"instance": f"i{number}"} | changes.pop("labels", {})
    began = NOW - 4000 - number
    one = Kept(
        f"e{number:04}-{int(began * 1000)}", "suppress", "WARNING", "suppression_by_score", "like what people call noise",
        0.9, labels, began, None if lasted is None else began + lasted, answered,
    )  # fmt: skip
    return replace(one, **changes)


def digest(*alerts: Kept, folded: int = 0, **config: Any):
    return digest_of("digest-team-1", DUE, alerts, folded, Config.model_validate({"digest": config}))


def test_alerts_of_a_kind_are_one_line_with_counts_length_scores_and_reason():
    """Alertname, namespace, service and severity make a kind."""
    said = digest(
        kept(0, score=0.86), kept(1, score=0.97, lasted=900), kept(2, lasted=None), kept(3, verdict="digest", rule="hold"),
        kept(4, name="Rare"), folded=3,
    )  # fmt: skip
    assert said.title == "5 alerts were kept back, of 2 kinds"
    first, second = said.items
    assert first.title == "Flaky on checkout (payments) · WARNING"
    assert first.facts == (
        "4 times, 1 of them still firing, over after 5 min as a rule",
        "86% to 97% likely a false alarm",
        "3 suppressed, 1 held until it cleared: like what people call noise",
    )
    assert (first.data["count"], first.data["usual_seconds"], first.data["lowest_score"]) == (4, 300, 0.86)
    assert second.facts[0] == "once, over after 5 min"
    assert "From Tue 24 Nov 10:00 UTC to Wed 25 Nov 10:00 UTC: 5 alerts interrupted nobody" in said.lead[0]
    assert "1 of them still fires." in said.lead[0]
    assert said.lead[-1] == "3 alerts more joined incidents that had been told."


def test_those_without_an_answer_come_first_then_the_severe_then_the_many():
    """An answer to one of several leaves the line among the unanswered."""
    said = digest(
        *(kept(n, "Answered", answered=True) for n in range(9)), *(kept(n, "Many") for n in range(10, 15)),
        kept(20, "Urgent", labels={"severity": "page"}), kept(30, "Half"), kept(31, "Half", answered=True),
    )  # fmt: skip
    assert [item.title.split(" ")[0] for item in said.items] == ["Urgent", "Many", "Half", "Answered"]
    assert "answered: 1 of 2" in said.items[2].facts
    assert "Nobody has answered 7 of them" in said.lead[1]


def test_more_kinds_than_lines_are_counted():
    """And what one line cannot list is said."""
    said = digest(*(kept(n, f"Alert{n % 30}") for n in range(3000)), lines=10)
    assert (len(said.items), said.more) == (10, 20)
    assert sum(len(item.episodes) for item in said.items) <= LISTED
    said = digest(*(kept(n) for n in range(LISTED + 5)))
    assert len(said.items[0].episodes) == LISTED
    assert said.items[0].facts[-1] == f"an answer here counts for the newest {LISTED}"


def test_where_there_is_no_service_the_instance_stands_for_it():
    """One by its name, several by their number, and an alert without a name has one."""
    bare = {"service": "", "namespace": ""}
    assert digest(kept(0, labels=bare)).items[0].title == "Flaky on i0 · WARNING"
    assert digest(kept(0, labels=bare), kept(1, labels=bare)).items[0].title == "Flaky on 2 instances · WARNING"
    assert digest(kept(0, "", labels={**bare, "instance": ""})).items[0].title == "an alert without a name · WARNING"


def test_without_scores_and_ends_nothing_is_made_up():
    """And times are those of the digest's own zone."""
    said = digest(kept(0, score=None, lasted=None, sentence=""), timezone="Asia/Kolkata")
    assert said.items[0].facts == ("once, still firing", "1 suppressed")
    assert "Wed 25 Nov 15:30 IST" in said.lead[0]
    assert digest().title == "nothing was kept back"
    assert digest(*[kept(n) for n in range(MOST)]).title.startswith(f"at least {MOST} alerts were kept back")


@pytest.mark.parametrize("channel", ["slack", "email", "msteams", "webhook", "log"])
@pytest.mark.parametrize("size", [1, 300])
def test_five_hundred_lines_of_hostile_labels_fit_every_channel(channel, size):
    """Within the vendor's limits, inert, and each link that is shown is whole."""
    text = {"server": {"external_url": "https://sidecar.example.org", "api_secret": "key"}, "digest": {"lines": 100}}
    config = Config.model_validate(text | {"slack": {"signing_secret": "s"}})
    alerts = [
        kept(n, EVIL * size + str(n), labels={"service": EVIL * size, "namespace": EVIL, "severity": EVIL}, sentence=EVIL * size)
        for n in range(500)
    ]  # fmt: skip
    said = digest_of("digest-team-1", DUE, alerts, 9, config)
    block = make_config(channel)
    sent = answerable(said, channel, block, config)
    assert (len(sent.items), sent.more) == (100, 400)
    (step,) = BY_NAME[channel].render(sent, block, "")
    check_limits(step)
    body = getattr(step, "body", None) or getattr(step, "content", None) or step.text.encode()
    plain = body.decode().replace("=\r\n", "")
    tokens = re.findall(r"https://sidecar\.example\.org/v/([A-Za-z0-9_-]+)", plain)
    assert len(tokens) >= 20
    assert {read(token, "key", NOW).about for token in tokens} == {"digest-team-1"}


def test_each_channel_says_how_to_answer_there():
    """Slack by reactions where they are heard, the others by links, and without both by the API."""
    said = digest(kept())
    slack, mail = make_config("slack"), make_config("email")
    full = Config.model_validate(
        {"server": {"external_url": "https://x.example.org", "api_secret": "k"}, "slack": {"signing_secret": "s"}}
    )
    bare = Config()
    assert [text.split(" ")[0] for text in answerable(said, "slack", slack, full).foot] == ["React", "Each"]
    assert [text.split(" ")[0] for text in answerable(said, "email", mail, full).foot] == ["Each"]
    assert answerable(said, "slack", slack, bare).foot == (
        'To answer all: POST /api/v2/feedback with "incident": "digest-team-1"',
    )
    assert answerable(digest(), "slack", slack, full).foot == ()


# ------------------------------------------------------------------------------------------------------------- silences

PATTERN = Pattern("Flaky", "payments", "checkout", "WARNING")
ROW = SilenceRow(
    PATTERN,
    NOW - 7200,
    NOW + 7200,
    "active",
    "s-1",
    "false_positive",
    "5 of 5 voted noise",
    ["e1", "e2"],
    [],
    None,
    "",
    4,
)


def test_the_end_of_a_silence_says_what_is_known_of_it():
    """Also when nothing is."""
    ended = SilenceEnded(NOW, PATTERN, "s-1", "its time was over", 1)
    assert ending_of("n", "team", ended, ROW).lead[:3] == (
        "It hid 1 alert in 2 h.", "Its time was over.", "It stood on 2 alerts called noise."
    )  # fmt: skip
    assert ending_of("n", "team", ended, None).lead == (
        "It hid 1 alert.", "Its time was over.", "What fires now is told again."
    )  # fmt: skip


def test_a_review_has_what_stands_first_and_what_was_refused_too():
    """With what each hid, its evidence, and how the last ones ended."""
    refused = replace(
        ROW, pattern=PATTERN._replace(service="db"), state="refused", why="it would have hidden a real one"
    )
    old = replace(
        ROW, pattern=PATTERN._replace(service="old"), state="ended", asked_at=NOW - 90 * 86400, ends_at=NOW - 89 * 86400
    )
    ends = [
        {"pattern": '["Flaky","","web","WARNING"]', "at": NOW - n, "why": f"end {n}", "hidden": 2, "cause": "expired"}
        for n in range(5, 0, -1)
    ]
    due = ReviewDue(NOW, "team", NOW - 7 * 86400, NOW)
    said = review_of("n", due, [ROW, refused, old], ends, Config())
    assert said.title == "silences of the sidecar: 1 standing, 5 over"
    assert [item.title.split(" ")[2] for item in said.items] == ["checkout", "web", "db"]
    assert said.items[0].facts == (
        "stands until Wed 25 Nov 12:00 UTC, and hid 4 alerts so far",
        "evidence: 2 alerts called noise",
    )
    assert said.items[1].facts[-1] == "2 more ends before these"
    assert said.items[2].facts[-1] == "refused: it would have hidden a real one"
    assert said.lead[1] == "Those that are over hid 10 alerts."


# -------------------------------------------------------------------------------------------------------- configuration


def test_what_is_wrong_or_surprising_in_the_section_is_said():
    """By name, with what to write instead."""
    from sidecar.errors import ConfigError

    wrong = "digest: {schedule: '0 9 * *', timezone: Europe/Berln, receivers: [nobody], lines: 0, review: never, link_key: ''}"
    with pytest.raises(ConfigError) as error:
        loads(wrong)
    assert {path for path, _, _ in error.value.problems} == {
        "digest.schedule", "digest.timezone", "digest.receivers", "digest.lines", "digest.review", "digest.link_key"
    }  # fmt: skip
    pager = "receivers: [{name: p, pagerduty_configs: [{routing_key: k}]}, {name: q, log_configs: [{}]}]\n"
    said = dict(warnings(loads(pager + "default_receiver: p\nserver: {external_url: 'https://x.example.org'}")))
    assert "takes no digest" in said["digest"]
    assert "no links" in said["digest.link_key"]
    assert "p takes no digest" in dict(warnings(loads(pager + "digest: {receivers: p}")))["digest.receivers"]
    quiet = dict(warnings(loads(pager + "default_receiver: p\ndigest: {enabled: false}")))
    assert not any(path.startswith("digest") for path in quiet)


def test_the_key_of_links_is_the_sections_own_or_a_secret_of_the_server():
    """In this order."""
    every = {"digest": {"link_key": "a"}, "server": {"api_secret": "b", "webhook_secret": "c"}}
    assert Config.model_validate(every).link_key == "a"
    assert Config.model_validate({"server": every["server"]}).link_key == "b"
    assert Config.model_validate({"server": {"webhook_secret": "c"}}).link_key == "c"
    assert Config().link_key == ""
