"""Two looks at Alertmanager: what is gone, what is silenced, and what became of our silences."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.domain import Pattern
from sidecar.events import EpisodeUnmuted, SilenceChanged, SilenceEnded
from sidecar.state.silences import mark_of
from sidecar.watch.sightings import (
    SEEN_AGAIN,
    Answer,
    Gone,
    Known,
    Memory,
    Open,
    Ours,
    Sighting,
    Standing,
    Terms,
    exact,
    look,
)

T0 = 1_795_000_000.0
TERMS = Terms(30.0, 300.0)
PATTERN = Pattern("A", "", "", "WARNING")
MATCHERS = exact([("alertname", "A"), ("severity", "warning")])


def alert(name: str = "f1", *silenced: str, **more: Any) -> Sighting:
    return Sighting(name, {"alertname": "A"}, {}, T0 - 100, T0 + 9e6, silenced=silenced, **more)


def answer(*alerts: Sighting, peer: str = "am1", at: float = T0, up: float = 9999.0, silences: Any = ()) -> Answer:
    return Answer(
        peer, at, at - up, {one.fingerprint: one for one in alerts}, {one.silence_id: one for one in silences}
    )


def known(*names: str, muted: tuple[str, ...] = (), ours: tuple[Ours, ...] = ()) -> Known:
    return Known({name: Open(f"{name}-1", T0 - 100, muted) for name in names}, ours)


def looks(held: Known, *rounds: tuple[Answer, ...], memory: Memory = Memory()):  # noqa: B008
    """Look after look, 30 s apart; what the last one saw, and the memory after it."""
    seen = None
    for n, answers in enumerate(rounds):
        at = T0 + 30 * n
        memory, seen = look(
            memory,
            [replace(one, at=at, up_since=at - (one.at - one.up_since)) for one in answers],
            held,
            at,
            at + 0.2,
            TERMS,
        )
    return seen, memory


# ------------------------------------------------------------------------------------------------------------- what is gone


def test_gone_twice_has_ended_when_it_was_first_gone():
    """Once proves nothing."""
    held = known("f1")
    first, _ = looks(held, (answer(alert()),), (answer(),))
    assert first.gone == ()
    second, _ = looks(held, (answer(alert()),), (answer(),), (answer(),))
    assert second.gone == (Gone("f1", "f1-1", T0 + 30, met=True),)


def test_what_was_never_seen_there_is_marked():
    """It may be another Alertmanager's: the caller looks who sent it."""
    seen, _ = looks(known("f1"), (answer(),), (answer(),))
    assert seen.gone == (Gone("f1", "f1-1", T0, met=False),)


def test_present_in_between_begins_anew():
    """Absent, present, absent: nothing."""
    seen, _ = looks(known("f1"), (answer(),), (answer(alert()),), (answer(),))
    assert seen.gone == ()


@pytest.mark.parametrize("other", [answer(alert(), peer="am2"), answer(alert(), peer="am2", up=10)])
def test_present_on_one_peer_is_present(other):
    """A young one too: what it has is there."""
    seen, _ = looks(known("f1"), *[(answer(), other)] * 3)
    assert seen.gone == ()


def test_a_peer_that_is_down_or_young_proves_nothing():
    """Neither that it is there, nor that it is gone; the other one decides."""
    down, young = Answer("am2", why="refused"), answer(peer="am2", up=10)
    for other in (down, young):
        assert looks(known("f1"), *[(answer(), other)] * 2)[0].gone
        assert looks(known("f1"), *[(replace(other, peer="am1"),)] * 4)[0].gone == ()


def test_a_peer_that_comes_back_has_to_miss_it_twice_too():
    """Absent twice on every peer that proves anything."""
    down = Answer("am2", why="refused")
    back = answer(peer="am2")
    assert looks(known("f1"), (answer(alert()), down), (answer(), down), (answer(), back))[0].gone == ()
    assert looks(known("f1"), (answer(), down), (answer(), back), (answer(), back))[0].gone


def test_looks_that_are_close_together_count_once():
    """A reload that looks again at once ends nothing."""
    memory, _ = look(Memory(), [answer()], known("f1"), T0, T0, TERMS)
    _, seen = look(memory, [answer()], known("f1"), T0 + 5, T0 + 5, TERMS)
    assert seen.gone == ()


def test_an_end_in_the_past_counts_as_gone_by_the_peers_clock():
    """Alertmanager lists no such alerts today; if it does, it has ended."""
    past = replace(alert(), ends_at=T0 - 1)
    assert looks(known("f1"), *[(answer(past),)] * 2)[0].gone


def test_what_was_seen_after_the_look_began_is_not_gone():
    """A webhook came meanwhile."""
    held = Known({"f1": Open("f1-1", T0 + 31)})
    assert looks(held, (answer(),), (answer(),))[0].gone == ()


peers = st.sampled_from(["am1", "am2"])
looked = st.lists(
    st.tuples(
        st.sampled_from(["down", "young", "up"]), st.booleans(), st.sampled_from(["down", "young", "up"]), st.booleans()
    ),
    min_size=1,
    max_size=8,
)


def told(kind: str, has: bool, peer: str) -> Answer:
    if kind == "down":
        return Answer(peer, why="refused")
    return answer(*([alert()] if has else []), peer=peer, up=10 if kind == "young" else 9999)


@settings(max_examples=300, deadline=None)
@given(looked)
def test_gone_is_what_every_peer_that_proves_anything_missed_twice(rounds):
    """Checked against the sentence, for two peers and up to eight looks."""
    answers = [(told(a, has_a, "am1"), told(b, has_b, "am2")) for a, has_a, b, has_b in rounds]
    seen, _ = looks(known("f1"), *answers)
    proving = [one.peer for one in answers[-1] if not one.why and one.at - one.up_since >= 300]
    present = any(one.alerts for one in answers[-1])
    missed = [
        len(answers) > 1
        and all(not each.why and each.at - each.up_since >= 300 for each in pair)
        and not _there(answers[-2])
        for peer in proving
        for pair in [[next(one for one in look if one.peer == peer) for look in answers[-2:]]]
    ]
    assert bool(seen.gone) == (bool(proving) and not present and all(missed))


def _there(answers: tuple[Answer, ...]) -> bool:
    return any(one.alerts for one in answers)


# --------------------------------------------------------------------------------------------------------- what is silenced


def test_a_silenced_alert_is_handed_in_once_with_who_silenced_it():
    """Until its silences change, or an hour has passed."""
    standing = Standing("s1", "active", MATCHERS, T0 - 50, T0 + 3600, T0 - 50, "ada", "")
    first, memory = looks(known(), (answer(alert("f1", "s1"), silences=[standing]),))
    (received,) = first.received
    assert [(one.silence_id, one.created_by, one.ends_at) for one in received.muted] == [("s1", "ada", T0 + 3600)]
    assert received.alert.ends_at is None
    held = known("f1", muted=("s1",))
    assert looks(held, (answer(alert("f1", "s1")),), memory=memory)[0].received == ()
    assert looks(held, (answer(alert("f1", "s1", "s2")),), memory=memory)[0].received
    late = look(memory, [answer(alert("f1", "s1"))], held, T0 + SEEN_AGAIN, T0 + SEEN_AGAIN + 1, TERMS)[1]
    assert late.received


def test_an_unsilenced_alert_is_never_handed_in():
    """Its webhook tells of it."""
    assert looks(known(), (answer(alert("f1")),))[0].received == ()


def test_what_is_silenced_no_longer_is_said():
    """Only of what is still there."""
    held = known("f1", muted=("s1",))
    assert [type(one) for one in looks(held, (answer(alert("f1")),))[0].events] == [EpisodeUnmuted]
    assert looks(held, (answer(),))[0].events == ()


def test_nobody_answers_and_nothing_is_known_to_be_gone():
    """What was met is remembered; an absence before the outage counts no more."""
    _, memory = looks(known("f1"), (answer(alert()),), (answer(),))
    assert memory.absent
    seen, after = looks(known("f1"), (Answer("am1", why="down"),), memory=memory)
    assert (after.met, after.absent) == (memory.met, {})
    assert (seen.received, seen.gone, seen.events) == ((), (), ())


# ------------------------------------------------------------------------------------------------------------ our silences


def ours(**changes: Any) -> Ours:
    made = Ours(
        PATTERN, "s1", "active", MATCHERS, T0 - 3600, T0 + 80000, T0 - 3590, "alertmanager-sidecar", mark_of("c"), 3
    )
    return replace(made, **changes)


def standing(**changes: Any) -> Standing:
    made = Standing("s1", "active", MATCHERS, T0 - 3599, T0 + 80000.4, T0 - 3599, "alertmanager-sidecar", "c")
    return replace(made, **changes)


def judged(one: Ours, *silences: Standing, rounds: int = 1) -> list:
    held = known(ours=(one,))
    return list(looks(held, *[(answer(silences=silences),)] * rounds)[0].events)


def test_ours_as_it_was_is_no_news():
    """Nor is one that has just changed, or is over by its time."""
    assert judged(ours(), standing()) == []
    assert judged(ours(changed=T0 + 1), standing(ends_at=T0 + 9)) == []
    assert judged(ours(ends_at=T0 - 1), standing(state="expired", ends_at=T0 - 1)) == []


def test_one_that_was_expired_early_is_revoked():
    """By a person: we would have said so."""
    (event,) = judged(ours(), standing(state="expired", ends_at=T0 - 10, updated_at=T0 - 10))
    assert isinstance(event, SilenceEnded)
    assert (event.cause, event.hidden) == ("revoked", 3)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"ends_at": T0 + 99999}, "end"),
        ({"matchers": exact([("alertname", "A")])}, "matchers"),
        ({"created_by": "ada"}, "author"),
        ({"comment": "mine now"}, "comment"),
    ],
)
def test_one_that_was_edited_is_theirs(changes, word):
    """Whatever was changed."""
    (event,) = judged(ours(), standing(**changes))
    assert isinstance(event, SilenceChanged)
    assert (event.state, event.silence_id) == ("theirs", "s1")
    assert word in event.why


def test_one_that_an_older_version_asked_for_is_still_ours():
    """Its log has neither matchers nor author: what is not known was not edited."""
    old = ours(matchers=exact(()), created_by="")
    assert judged(old, standing()) == []
    (event,) = judged(old, standing(comment="mine now"))
    assert event.state == "theirs"


def test_an_edit_that_made_a_new_silence_is_followed():
    """Other matchers: the old one is expired and a new one stands in its place."""
    old = standing(state="expired", ends_at=T0 - 10, updated_at=T0 - 10)
    new = Standing("s2", "active", exact([("alertname", "A")]), T0 - 10, T0 + 500, T0 - 10, "ada", "c")
    (event,) = judged(ours(), old, new)
    assert (event.state, event.silence_id, event.ends_at) == ("theirs", "s2", T0 + 500)
    elsewhere = replace(new, updated_at=T0 - 400, starts_at=T0 - 400)
    assert judged(ours(), old, elsewhere)[0].cause == "revoked"


def test_the_newest_version_counts():
    """Peers hear of an edit one after the other."""
    held, new = known(ours=(ours(),)), standing(ends_at=T0 + 99, updated_at=T0 - 5)
    for order in ((standing(), new), (new, standing())):
        answers = tuple(answer(peer=f"am{n}", silences=[one]) for n, one in enumerate(order))
        assert [type(event) for event in looks(held, answers)[0].events] == [SilenceChanged]


def test_an_older_equal_one_is_adopted_once():
    """We asked, and one of ours stood there already, with its own end and comment; a change after that is a person's."""
    older = standing(starts_at=T0 - 9000, ends_at=T0 + 90000, comment="another")
    (event,) = judged(ours(), older)
    assert (event.state, event.ends_at, event.mark) == ("active", T0 + 90000, mark_of("another"))
    adopted = ours(adopted=True, ends_at=T0 + 90000, mark=mark_of("another"))
    assert judged(adopted, older) == []
    assert judged(adopted, replace(older, ends_at=T0 + 5))[0].state == "theirs"


def test_theirs_is_followed_and_not_judged():
    """Its end may move again; when it is expired early, that is a person's word too."""
    theirs = ours(state="theirs")
    assert judged(theirs, standing(comment="x", created_by="ada")) == []
    assert judged(theirs, standing(ends_at=T0 + 5))[0].ends_at == T0 + 5
    assert judged(theirs, standing(state="expired", ends_at=T0 - 10))[0].cause == "revoked"


def test_one_that_alertmanager_lost_ends_after_two_looks():
    """Its data was lost: that is nobody's word, and needs two looks."""
    assert judged(ours()) == []
    (event,) = judged(ours(), rounds=2)
    assert event.cause == "lost"
