"""What people took out of an incident goes on by itself, and what they merged goes on together."""

from __future__ import annotations

from sidecar.domain import Decision, Verdict
from sidecar.events import Decided, Regrouped
from sidecar.pipeline import Inputs
from sidecar.state import State
from sidecar.state.regroup import REMEMBERED, kind_of
from tests.unit.stories import NOON, World

A = {"alertname": "HighLatency", "namespace": "shop", "service": "cart"}
B = {"alertname": "CertExpires", "namespace": "shop", "service": "gateway"}
C = {"alertname": "DiskFull", "namespace": "shop", "service": "db"}


def kind(labels: dict[str, str]) -> str:
    return kind_of(labels["alertname"], labels["namespace"], labels["service"])


def take_out(here: World, decision: Decision, *others: dict[str, str]):
    """Ada takes one alert out of the incident that has these others."""
    pairs = tuple((kind(decision.scored.alert.labels), kind(one)) for one in others)
    episode = decision.scored.episode
    return here.batch(
        Inputs(asks=(Regrouped(here.now, "ada", decision.incident, f"i-{episode}-9", False, (episode,), pairs),))
    )


def merge(here: World, decision: Decision, into: Decision):
    pair = (kind(decision.scored.alert.labels), kind(into.scored.alert.labels))
    event = Regrouped(here.now, "ada", decision.incident, into.incident, True, (decision.scored.episode,), (pair,))
    return here.batch(Inputs(asks=(event,)))


def test_what_is_taken_out_moves_at_once_and_both_messages_follow():
    """The old one is edited, the new one is told to those who had the alert before."""
    here = World()
    here.fire(**A)
    second = here.fire(**B)
    made = take_out(here, second, A)
    (moved,) = [event for event in made.events if isinstance(event, Decided)]
    assert (moved.verdict, moved.incident, moved.came_from) == (
        Verdict.NOTIFY, f"i-{second.scored.episode}-9", second.incident,
    )  # fmt: skip
    assert moved.reasons[0].sentence == "ada took it out of the incident of HighLatency (shop/cart)"
    assert {(d.incident, d.kind) for d in made.deliveries} == {(second.incident, "update"), (moved.incident, "notify")}
    assert here.state.incidents[second.incident].firing == 1
    assert here.state.incidents[moved.incident].firing == 1


def test_the_like_is_not_folded_in_again_and_joins_its_own():
    """By instance they would; the first one finds the incident of its kind, which people have."""
    here = World()
    first = here.fire(**A)
    second = here.fire(**B)
    take_out(here, second, A)
    here.now += 60
    again = here.fire(**B, pod="2")
    assert again.incident == f"i-{second.scored.episode}-9"
    assert again.verdict is Verdict.FOLD
    assert here.fire(**A, pod="2").incident == first.incident


def test_it_is_remembered_for_later_incidents_in_either_order():
    here = World()
    here.fire(**A)
    take_out(here, here.fire(**B), A)
    for one, other in ((A, B), (B, A)):
        here.now += 2 * 3600
        assert here.fire(**one, pod=f"{here.now}").verdict is Verdict.NOTIFY
        apart = here.fire(**other, pod=f"{here.now}")
        assert apart.verdict is Verdict.NOTIFY
        assert any("ada took the like out of an incident with" in one.sentence for one in apart.reasons)
        assert here.fire(**C, pod=f"{here.now}").verdict is Verdict.FOLD


def test_in_one_batch_they_stay_apart_too():
    here = World()
    here.fire(**A)
    take_out(here, here.fire(**B), A)
    here.now += 2 * 3600
    batch = here.batch(
        Inputs((here.alert(**A, pod="x"), here.alert(**B, pod="x"), here.alert(**B, pod="y"), here.alert(**A, pod="y")))
    )
    one, two, three, four = (d.incident for d in batch.decisions)
    assert one == four
    assert two == three
    assert one != two


def test_after_sixty_days_they_are_folded_again():
    here = World()
    here.fire(**A)
    take_out(here, here.fire(**B), A)
    here.now += REMEMBERED + 1
    first = here.fire(**A, pod="x")
    assert here.fire(**B, pod="x").incident == first.incident
    here.batch(Inputs(sweep_before=here.now - 7 * 86400))
    assert (len(here.state.pairs), len(here.state.kinds), len(here.state.homes)) == (0, 0, 0)


def test_an_alert_that_people_have_already_never_interrupts_again():
    """Equal in every field: it goes to where its kind went."""
    here = World()
    here.fire(**A, pod="1")
    taken = here.fire(**B, pod="2")
    take_out(here, taken, A)
    again = here.fire(**B, pod="2", instance="other")
    assert (again.verdict, again.incident) == (Verdict.FOLD, f"i-{taken.scored.episode}-9")
    assert [one.rule for one in again.reasons[:2]] == ["exact_deduplication", "regrouping"]


def test_two_of_one_kind_can_be_taken_apart():
    """Each pod then interrupts for itself, but for the very same alert."""
    here = World()
    first = here.fire(**A, pod="1")
    take_out(here, here.fire(**A, pod="2"), A)
    here.now += 2 * 3600
    first = here.fire(**A, pod="1")
    assert here.fire(**A, pod="2").verdict is Verdict.NOTIFY
    assert here.fire(**A, pod="1", instance="other").incident == first.incident


def test_what_is_merged_goes_on_in_the_other_and_the_old_message_is_closed():
    here = World()
    first, second = here.fire(**A, instance="a"), here.fire(**B, instance="b")
    made = merge(here, second, first)
    assert {(d.incident, d.kind) for d in made.deliveries} == {(first.incident, "update"), (second.incident, "resolve")}
    assert here.state.incidents[first.incident].firing == 2


def test_the_like_of_what_was_merged_goes_on_together():
    """In both orders, while people still read the message, and not when it is more severe."""
    here = World()
    merge(here, here.fire(**B, instance="b"), here.fire(**A, instance="a"))
    for n, (one, other) in enumerate(((A, B), (B, A))):
        here.now += 2 * 3600
        first = here.fire(**one, instance=f"x{n}")
        assert first.verdict is Verdict.NOTIFY
        second = here.fire(**other, instance=f"y{n}")
        assert (second.verdict, second.incident) == (Verdict.FOLD, first.incident)
        assert any("ada merged the like with" in reason.sentence for reason in second.reasons)
        assert here.fire(**other, instance=f"z{n}", severity="critical").verdict is Verdict.NOTIFY
    here.now += 2 * 3600
    here.fire(**A, instance="p")
    here.now += 3601
    assert here.fire(**B, instance="q").verdict is Verdict.NOTIFY


def test_merged_alerts_of_one_batch_are_one_message():
    here = World()
    merge(here, here.fire(**B, instance="b"), here.fire(**A, instance="a"))
    here.now += 2 * 3600
    batch = here.batch(Inputs((here.alert(**A, instance="x"), here.alert(**B, instance="y"))))
    assert [d.incident for d in batch.decisions] == [batch.decisions[0].incident] * 2
    assert [(d.kind, d.alerts) for d in batch.deliveries] == [("notify", 2)]


def test_the_newest_word_on_a_pair_counts():
    """Merged, then taken apart: apart."""
    here = World()
    first = here.fire(**A, instance="a")
    second = here.fire(**B, instance="b")
    merge(here, second, first)
    event = Regrouped(
        here.now, "grace", first.incident, "i-new", False, (second.scored.episode,), ((kind(B), kind(A)),)
    )
    here.batch(Inputs(asks=(event,)))
    here.now += 2 * 3600
    here.fire(**A, instance="x")
    assert here.fire(**B, instance="y").verdict is Verdict.NOTIFY


def test_what_has_ended_or_moved_meanwhile_stays_where_it_is():
    here = World()
    here.fire(**A)
    second = here.fire(**B)
    here.now += 5
    here.clear(NOON, **B)
    made = take_out(here, second, A)
    assert not any(isinstance(event, Decided) for event in made.events)
    assert made.deliveries == ()


def test_a_critical_alert_taken_out_is_still_told():
    here = World()
    here.fire(**A)
    second = here.fire(**B, severity="critical")
    made = take_out(here, second, A)
    assert (f"i-{second.scored.episode}-9", "notify") in {(d.incident, d.kind) for d in made.deliveries}


def test_the_log_folds_to_the_same_and_a_snapshot_keeps_it():
    here = World()
    here.fire(**A)
    take_out(here, here.fire(**B), A)
    merge(here, here.fire(**C, instance="z"), here.fire(**A, pod="7"))
    folded = State()
    for events in here.log:
        for event in events:
            folded.fold(event)
        folded.commit(folded.seq + 1)
    assert folded.dump() == here.state.dump()
    assert State.load(here.state.dump()).dump() == here.state.dump()


def test_without_pairs_nothing_is_kept_of_kinds():
    """It costs nothing where nobody ever regrouped anything."""
    here = World()
    here.fire(**A)
    here.fire(**B)
    assert (len(here.state.kinds), len(here.state.homes)) == (0, 0)


def test_homes_do_not_depend_on_the_order_of_a_table():
    """A replica that took a batch back holds the same: a kind's home is the incident it was told in last."""
    here = World(
        folding={"labels": [], "group": False}, deduplication={"strategies": {"fuzzy_match": {"enabled": False}}}
    )
    first = here.fire(**A)
    here.now += 4000
    newest, other = here.fire(**A, instance="i2"), here.fire(**B, instance="i3")
    again = State.load(here.state.dump())
    name = first.scored.alert.fingerprint
    again.episodes.drop(name)
    again.rollback()  # it is at the end of the table now
    for state in (here.state, again):
        state.fold(Regrouped(here.now, "ada", other.incident, "i-9", False, (), ((kind(B), kind(C)),)))
        assert state.homes[kind(A)] == newest.incident


def test_merged_into_what_had_cleared_it_is_told_where_no_message_can_be_edited():
    """E-mails say that the other incident is over: one more says that it is not."""
    mail = {"to": "a@example.org", "from": "b@example.org", "smarthost": "127.0.0.1:25"}
    here = World(folding={"labels": [], "group": False}, receivers=[{"name": "default", "email_configs": [mail]}])
    first = here.fire(**C)
    here.now += 600
    here.clear(first.scored.alert.starts_at, **C)
    here.now += 60
    second = here.fire(**B, instance="i2")
    made = merge(here, second, first)
    assert {(d.incident, d.kind) for d in made.deliveries} == {(first.incident, "raise"), (second.incident, "resolve")}
