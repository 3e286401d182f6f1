"""Bytes -> alerts: what Alertmanager sends, what nobody should send, and what is made of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.errors import PayloadError
from sidecar.intake import webhook
from sidecar.intake.webhook import fingerprint_of, parse, readable

NOW = 1_795_316_400.0  # 2026-11-22T03:00:00Z
FIRING = {
    "status": "firing",
    "labels": {"alertname": "HighLatency", "severity": "critical"},
    "annotations": {"summary": "slow"},
    "startsAt": "2026-11-22T02:59:00.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus.example.org/graph",
    "fingerprint": "0123456789abcdef",
}
RESOLVED = {**FIRING, "status": "resolved", "endsAt": "2026-11-22T02:59:30Z"}
DEEP = b"[" * 100_000 + b"]" * 100_000


def body(*alerts: object, **envelope: object) -> bytes:
    around = {"version": "4", "groupKey": "{}:{}", "receiver": r"ok\.recv\+x", "externalURL": "http://am", **envelope}
    return json.dumps({**around, "alerts": list(alerts)}).encode()


def only(content: bytes):
    parsed = parse(content, NOW)
    assert parsed.poison == ()
    assert len(parsed.received) == 1
    return parsed.received[0]


def test_what_alertmanager_sends_is_read():
    """Every field of an alert, and of the envelope what is needed later."""
    received = only(body(FIRING))
    alert = received.alert
    assert (alert.fingerprint, alert.labels, alert.annotations) == (
        "0123456789abcdef",
        FIRING["labels"],
        {"summary": "slow"},
    )
    assert alert.generator_url == "http://prometheus.example.org/graph"
    assert (received.group_key, received.external_url, received.at) == ("{}:{}", "http://am", NOW)


def test_year_one_is_not_yet():
    """A firing alert has no end, whatever its endsAt says."""
    assert only(body(FIRING)).alert.ends_at is None
    assert only(body({**FIRING, "endsAt": "2026-11-22T09:00:00Z"})).alert.ends_at is None


def test_nanoseconds_are_read_to_the_microsecond():
    """Go writes nine digits."""
    assert only(body(FIRING)).alert.starts_at == pytest.approx(NOW - 59.876543, abs=1e-5)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ("2026-11-22T02:59:30Z", NOW - 30),
        ("0001-01-01T00:00:00Z", NOW),  # resolved, and nobody says when
        ("9999-12-31T23:59:59Z", NOW),  # no end lies in the future
        (None, NOW),
    ],
)
def test_the_end_of_a_resolved_alert(ends, expected):
    """It is when Alertmanager says, never later than now."""
    assert only(body({**RESOLVED, "endsAt": ends})).alert.ends_at == expected


@pytest.mark.parametrize(
    "start", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "1066-10-14T09:00:00Z", None]
)
def test_a_start_before_the_epoch_is_no_start(start):
    """Zero stands for unknown: the pipeline dates it."""
    assert only(body({**FIRING, "startsAt": start})).alert.starts_at == 0.0


@pytest.mark.parametrize("start", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59", "9999-12-31T23:59:59-14:00"])
def test_the_last_year_is_read(start):
    """It is far away, and a number."""
    assert only(body({**FIRING, "startsAt": start})).alert.starts_at > 253_402_300_000


def test_a_time_without_a_zone_is_utc():
    """Otherwise it would be another episode on each host."""
    expected = datetime(2026, 11, 22, 1, 0, tzinfo=UTC).timestamp()
    assert only(body({**FIRING, "startsAt": "2026-11-22T01:00:00"})).alert.starts_at == expected


def test_nul_and_lone_surrogates_become_replacement_characters():
    """No database takes them; valid pairs and escaped backslashes stay."""
    content = body({**FIRING, "labels": {"alertname": "@"}})
    content = content.replace(b"@", rb"\\u0000 \u0000 \ud800 \ud83d\ude00 \udc00")
    assert only(content).alert.labels == {"alertname": "\\u0000 \ufffd \ufffd \U0001f600 \ufffd"}


@pytest.mark.parametrize("separator", ["001f", "001F", "001e"])
def test_separators_of_keys_become_replacement_characters(separator):
    """A label with one could make two alerts look like one, or a key that cannot be taken apart."""
    content = body({**FIRING, "labels": {"alertname": "@", "pod": "a"}}).replace(b"@", rb"a\u" + separator.encode())
    assert only(content).alert.labels == {"alertname": "a\ufffd", "pod": "a"}


def test_invalid_utf8_becomes_replacement_characters():
    """Raw bytes that are no text, surrogates in UTF-8 among them."""
    content = body({**FIRING, "labels": {"alertname": "@"}}).replace(b"@", b"a\xff\xed\xa0\x80b")
    label = only(content).alert.labels["alertname"]
    assert label.startswith("a\ufffd")
    assert label.endswith("b")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_taken_off(encoding):
    """Some senders write one."""
    plain = body({**FIRING, "labels": {"alertname": "Größe مرحبا 🚨"}}).decode()
    assert only(json.dumps(json.loads(plain), ensure_ascii=False).encode(encoding)).alert.labels == {
        "alertname": "Größe مرحبا 🚨"
    }


@pytest.mark.parametrize(
    "content",
    [
        b"", b" ", b"[]", b"null", b"0", b'"x"', b"{}", b"NaN", b"not json", b"\x00", b"\xff\xfe", b"[" * 100_000, DEEP,
        b'{"alerts": null}', b'{"alerts": {}}', b'{"alerts": "x"}', b'{"alerts": [', b'{"alerts": [NaN]}',
        b'{"truncatedAlerts": 1e999, "alerts": []}', b'{"alerts": []} trailing', b'{"text": "a custom payload"}',
        b'{"alerts": [{"labels": {"alertname": "a"}, "x": ' + DEEP + b"}]}", body(FIRING).decode().encode("utf-16-le"),
        b'{"alerts": [{"labels": {"alertname": "a\x00b"}}]}',
    ],
)  # fmt: skip
def test_what_is_no_webhook_is_refused(content):
    """With a reason; nothing else is raised."""
    with pytest.raises(PayloadError) as refused:
        parse(content, NOW)
    assert str(refused.value)


def test_a_custom_payload_is_told_what_to_do():
    """Alertmanager 0.32 lets people send any body."""
    with pytest.raises(PayloadError, match="payload:"):
        parse(b'{"text": "HighLatency is firing"}', NOW)


@pytest.mark.parametrize(
    "bad",
    [
        None, 1, "x", [], {}, {"labels": None}, {"labels": {"alertname": 1}}, {"labels": {"alertname": ["a"]}},
        {**FIRING, "startsAt": "yesterday"}, {**FIRING, "startsAt": 17}, {**FIRING, "startsAt": "2026-02-30T00:00:00Z"},
        {**FIRING, "annotations": None}, {**FIRING, "annotations": {"a": {}}}, {**FIRING, "status": 1},
        {**FIRING, "fingerprint": 1}, {**FIRING, "generatorURL": []},
    ],
)  # fmt: skip
def test_one_bad_alert_does_not_block_the_others(bad):
    """It is set aside as it came, with the reason; its neighbours are read."""
    parsed = parse(body(FIRING, bad, RESOLVED), NOW)
    assert [one.alert.firing for one in parsed.received] == [True, False]
    (poison,) = parsed.poison
    assert json.loads(poison.body) == bad
    assert poison.why


def test_keys_that_newer_versions_add_are_ignored():
    """notification_reason since 0.32, routeLabels since 0.34, and an unknown version."""
    received = only(body({**FIRING, "new": {"a": [1]}}, version="5", notification_reason="x", routeLabels={"a": "b"}))
    assert received.alert.labels == FIRING["labels"]


def test_keys_that_older_versions_lack_are_not_needed():
    """Labels are all it takes."""
    received = only(b'{"alerts": [{"labels": {"alertname": "a"}}]}')
    assert received.alert.fingerprint == fingerprint_of({"alertname": "a"})
    assert received.alert.firing


def test_the_last_of_duplicate_keys_counts():
    """As Go reads them."""
    received = only(b'{"alerts": [1], "alerts": [{"labels": {"alertname": "a", "alertname": "b"}}]}')
    assert received.alert.labels == {"alertname": "b"}


@pytest.mark.parametrize("odd", ["x" * 65, "a/b", "a b", "ü", "a-b", "x" * 3_000_000, ""])
def test_an_odd_fingerprint_is_replaced_by_one_of_the_labels(odd):
    """Keys in the database are made of it; a key of megabytes fits no index."""
    alert = only(body({**FIRING, "fingerprint": odd})).alert
    assert alert.fingerprint == fingerprint_of(FIRING["labels"])
    assert len(alert.fingerprint) == 16


def test_the_fingerprint_of_labels_does_not_depend_on_their_order():
    """16 hex digits that name a label set."""
    assert fingerprint_of({"a": "1", "b": "2"}) == fingerprint_of({"b": "2", "a": "1"})
    assert fingerprint_of({"a": "1", "b": "2"}) != fingerprint_of({"a": "2", "b": "1"})
    assert fingerprint_of({"a": "1b"}) != fingerprint_of({"a1": "b"})


@pytest.mark.parametrize(("sent", "counted"), [(0, 0), (7, 7), (-1, 0), (10**300, webhook.MOST_TRUNCATED)])
def test_truncated_alerts_are_a_count(sent, counted):
    """Whatever is sent can be added to a counter."""
    assert parse(body(truncatedAlerts=sent), NOW).truncated == counted


def test_a_label_of_two_megabytes_and_ten_thousand_labels_are_read():
    """Alertmanager limits neither."""
    labels = {"alertname": "x" * 2_000_000, **{f"label_{n}": "v" for n in range(10_000)}}
    assert only(body({**FIRING, "labels": labels})).alert.labels == labels


def test_what_is_kept_of_a_part_can_be_read_by_people():
    """A webhook that is taken apart keeps each part as JSON."""
    parsed = parse(body(FIRING, RESOLVED), NOW)
    kept = json.loads(webhook.encoded(parsed.received[:1]))
    assert kept[0]["alert"]["labels"] == FIRING["labels"]


# ------------------------------------------------------------------------------------------------------------------ fuzz

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from([*FIRING, "groupKey", "truncatedAlerts"])
ODD_TIMES = st.datetimes(timezones=st.none() | st.just(UTC)).map(lambda at: at.isoformat())
ODD_ALERT = st.tuples(FIELDS, ANY_JSON | ODD_TIMES).map(lambda pair: {**FIRING, pair[0]: pair[1]}) | ANY_JSON
ODD_BODY = st.tuples(st.lists(ODD_ALERT, max_size=3), st.dictionaries(FIELDS, ANY_JSON, max_size=2)).map(
    lambda parts: body(*parts[0], **parts[1])
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | ODD_BODY, st.binary(max_size=4), st.integers(0, 400))
@example(b'{"alerts": [], "truncatedAlerts": -1}', b"", 0)
@example(body({**FIRING, "startsAt": "0001-01-01T00:00:00"}), b"", 0)
def test_whatever_comes_is_read_or_refused(content, junk, place):
    """Only PayloadError comes out, and what is read can be stored."""
    content = content[:place] + junk + content[place:]
    try:
        parsed = parse(content, NOW)
    except PayloadError:
        return
    assert parsed.truncated >= 0
    for one in parsed.received:
        assert one.alert.starts_at >= 0
        assert "\x00" not in json.dumps(one.alert.labels, ensure_ascii=False)
        webhook.encoded((one,)).decode()
        assert 0 < len(one.alert.fingerprint) <= webhook.LONGEST_FINGERPRINT


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_readable_is_always_text(content):
    """And reading it again changes nothing more."""
    once = readable(content)
    once.decode()
    if not once.startswith(b"\xef\xbb\xbf"):
        assert readable(once) == once
