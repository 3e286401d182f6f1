"""Texts of labels, and the index that finds those that are alike."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.likeness import BORDER, SHARED, Like, alike, enter, leave, near, similarity, slots, text_of
from models.table import Table

WORDS = st.sampled_from(
    [
        *("checkout", "checkouts", "check", "chekout", "cart", "carts", "payment", "payments", "payment-eu", "high"),
        *(
            "latency",
            "latencies",
            "Cpu",
            "Gpu",
            "sda1",
            "available",
            "unavailable",
            "node",
            "7",
            "18",
            "order",
            "orders",
        ),
        *("7f9c8d5b6-x2x9z", "böden"),
    ]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=4).map(lambda words: BORDER + text_of((" ".join(words),)))


def text(*values: str) -> str:
    return text_of(values)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cart-7f9c8d5b6-x2x9z", "cart-84f6d59d67-kqzpw"),  # a Deployment's pods
        ("fluentd-hx7lk", "fluentd-2mbwq"),  # a DaemonSet's
        ("redis-0", "redis-17"),
        ("LoadTestAlert_1", "LoadTestAlert_29"),
        ("job-550e8400-e29b-41d4-a716-446655440000", "job-6BA7B810-9DAD-11D1-80B4-00C04FD430C8"),
        ("api on 10.0.0.1:9100", "api on 192.168.7.21"),
        ("api at fe80::1ff:fe23:4567:890a", "api at 2001:db8::8a2e:370:7334"),
        ("build 3f2a9bc", "build d41d8cd98f00b204e9800998ecf8427e"),
        ("handle 0xdeadbeef", "handle 0x1"),
    ],
)
def test_what_is_drawn_or_counted_is_masked(one, other):
    """Hashes, addresses, UUIDs and numbers that stand alone."""
    assert text(one) == text(other)
    assert "#" in text(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("m16_High", "m18_High"), ("disk sda1", "disk sdb1"), ("Http5xxHigh", "Http4xxHigh"), ("latency-p99", "latency-p95"),
        ("CertExpires7d", "CertExpires30d"), ("DiskUsage90", "DiskUsage95"), ("nfsv3", "nfsv4"), ("oauth2-proxy", "oauth1-proxy"),
        ("HighCpuUsage", "HighGpuUsage"), ("payments-eu", "payments-us"), ("HighLatency", "HighLatencyCritical"),
        ("payments", "payments-eu"), ("ServiceAvailable", "ServiceUnavailable"), ("DiskReadLatency", "DiskWriteLatency"),
        ("KafkaConsumerLag", "KafkaProducerLag"), ("LowMemory", "HighMemory"), ("prod", "preprod"), ("checkout", "cart"),
        ("HighErrorRates on checkouts", "HighErrorRate on checkout"),
    ],
)  # fmt: skip
def test_what_merely_looks_alike_is_not(one, other):
    """Another number in a name, another word, one word more, a negation, two words that differ."""
    assert not alike(BORDER + text(one), BORDER + text(other), 0.85)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HighErrorRate", "HighErrorRates"), ("order-processing", "order-procesing"), ("CPUUsageHigh", "CpuUsageHigh"),
        ("checkout api", "checkouts-api"), ("KEDAScalerError", "keda_scaler_error"),
    ],
)  # fmt: skip
def test_another_spelling_of_one_word_is_alike(one, other):
    """And so is another way to join the words."""
    assert alike(BORDER + text(one), BORDER + text(other), 0.85)


def test_the_threshold_is_of_the_word_that_differs():
    """`checkout` and `checkouts` are .94 alike; the number told is that of the whole text."""
    one, other = BORDER + text("HighLatency", "checkout"), BORDER + text("HighLatency", "checkouts")
    assert alike(one, other, 0.94)
    assert not alike(one, other, 0.95)
    assert similarity(one, other) == pytest.approx(2 * 21 / 43)


def test_words_of_two_fields_are_never_joined():
    """`a b` and `c` are not `a` and `b c`."""
    assert text("order api", "v") != text("order", "api v")


def test_what_is_before_the_border_has_to_be_equal():
    """Letter by letter, stars and separators included."""
    index: Table[str, tuple[str, ...]] = Table()
    enter(index, f"team*{BORDER}x{BORDER}checkout")
    assert near(index, f"teams*{BORDER}x{BORDER}checkouts", 0.85) == []
    assert [like.key for like in near(index, f"team*{BORDER}x{BORDER}checkouts", 0.85)] == [
        f"team*{BORDER}x{BORDER}checkout"
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=40), TEXTS, st.sampled_from([0.6, 0.85, 0.95, 1.0]))
def test_the_index_finds_what_comparing_all_pairs_finds(texts, asked, threshold):
    """Under the number of texts that a slot keeps, it misses none and adds none."""
    index: Table[str, tuple[str, ...]] = Table()
    for one in texts:
        enter(index, one)
    expected = {one for one in texts if one != asked and alike(one, asked, threshold)}
    found = near(index, asked, threshold)
    assert {like.key for like in found} == expected
    assert len(found) == len(expected)
    assert [like.similarity for like in found] == sorted([like.similarity for like in found], reverse=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), TEXTS), max_size=60))
def test_what_left_leaves_nothing_behind(steps):
    """The index holds the slots of the texts that are in it, and nothing when they are gone."""
    index: Table[str, tuple[str, ...]] = Table()
    inside: dict[str, None] = {}
    for comes, one in steps:
        if comes:
            inside.pop(one, None)
            inside[one] = None
            enter(index, one)
        else:
            inside.pop(one, None)
            leave(index, one)
    expected: dict[str, list[str]] = {}
    for one in inside:
        for slot in slots(one):
            expected.setdefault(slot, []).append(one)
    assert {slot: list(held) for slot, held in index.items()} == expected
    for one in inside:
        leave(index, one)
    assert index == {}


def test_a_crowded_slot_keeps_the_newest():
    """Its oldest texts are found no more: the cost of a look-up stays bounded."""
    index: Table[str, tuple[str, ...]] = Table()
    letters = "abcdefghij"
    for n in range(SHARED + 20):
        enter(index, f"{BORDER}cart {'x' * 30}{letters[n // 10]}{letters[n % 10]}")
    found = near(index, f"{BORDER}cart {'x' * 30}zz", 0.85)
    assert len(found) == SHARED
    assert isinstance(found[0], Like)
    assert found[0].key.endswith("id")


def test_odd_values_make_a_text():
    """Empty, without a letter, very long, in any script, with control characters: nothing raises."""
    for odd in (
        "",
        "---",
        "é" * 10_000,
        "0" * 10_000,
        "a-" * 10_000,
        "\x00\x1e\x1f*",
        "ошибка-сети",
        "::::::::",
        "1.2.3.4.5",
    ):
        made = BORDER + text(odd, odd)
        assert "*" not in made
        assert len(slots(made)) <= 12
        assert alike(made, made, 1.0)
