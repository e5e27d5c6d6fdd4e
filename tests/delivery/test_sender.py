"""Deliveries arrive in order per lane, whatever the destination and the store do, under simulated time."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.delivery.ports import Delivery, State
from labgateway.delivery.schedule import Schedule
from labgateway.delivery.sender import Sender
from tests.delivery.simulated import Attempt, MemoryOutbox, ScriptedDestination, now, simulate, utcnow

DAY_S = 86_400.0


@asynccontextmanager
async def running(outbox: MemoryOutbox, to: ScriptedDestination, **options: Any) -> AsyncIterator[Sender]:
    """A sender at work; at the end it is cancelled as the service does."""
    known: dict[str, Any] = {"random": random.Random(7).random, "utcnow": utcnow, **options}
    sender = Sender("emr", to, outbox, **known)
    task = asyncio.create_task(sender.run())
    await asyncio.sleep(0)
    try:
        yield sender
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def play(
    lanes: Sequence[str],
    script: Callable[[Attempt], tuple[float, Outcome]] | None = None,
    *,
    for_s: float = DAY_S,
    connections: int = 1,
    **options: Any,
) -> tuple[MemoryOutbox, ScriptedDestination]:
    """Owe one delivery for each lane named, run for a while, and see."""
    outbox, to = MemoryOutbox(), ScriptedDestination(script, connections=connections)

    async def run() -> None:
        for lane in lanes:
            outbox.owe(lane)
        async with running(outbox, to, **options):
            await asyncio.sleep(for_s)

    simulate(run)
    return outbox, to


def test_everything_owed_arrives_once_in_order() -> None:
    """A good destination gets each delivery once, lanes in their order."""
    outbox, to = play(["A", "B", "A", "C", "A", "B"] * 50)
    assert set(outbox.states().values()) == {"settled"}
    assert len(to.attempts) == 300
    assert to.most_under_way == 1
    for lane in "ABC":
        of_lane = [n for n, owed in outbox.owed.items() if owed.delivery.lane == lane]
        assert [n for n in to.answered() if n in of_lane] == of_lane


def test_a_lane_waits_for_the_commit_of_its_settlement() -> None:
    """With ten connections and a slow store, the second of a lane leaves only after the first is booked."""
    outbox, to = MemoryOutbox(commit_s=0.5), ScriptedDestination(connections=10)

    async def run() -> None:
        for _ in range(4):
            outbox.owe("A")
        outbox.owe("B")
        async with running(outbox, to):
            await asyncio.sleep(60)

    simulate(run)
    times = [a.at for a in to.attempts if a.id <= 4]
    assert len(times) == 4
    assert all(later - earlier > 0.499 for earlier, later in itertools.pairwise(times))
    assert [a.id for a in to.attempts][:2] == [1, 5], "another lane does not wait for it"


def test_new_deliveries_leave_when_woken() -> None:
    """Nothing polls: a wake is followed by the message within a few milliseconds."""
    outbox, to = MemoryOutbox(), ScriptedDestination()

    async def run() -> int:
        async with running(outbox, to) as sender:
            await asyncio.sleep(3600)
            quiet = outbox.reads
            outbox.owe("A")
            sender.wake()
            asked_at = now()
            await asyncio.sleep(1)
            assert [a.id for a in to.attempts] == [1]
            assert to.attempts[0].at - asked_at < 0.02
            return quiet

    assert simulate(run) <= 2, "an idle sender does not read the store over and over"


def test_silence_is_tried_for_ever_with_the_same_bytes() -> None:
    """A week without an answer: nothing parked, nothing dropped, waits within the schedule, bytes unchanged."""
    back_at = 7 * DAY_S

    def script(attempt: Attempt) -> tuple[float, Outcome]:
        return (0.001, Accepted("")) if attempt.at >= back_at else (30.0, Silent("no answer within 30 s"))

    outbox, to = play(["A"], script, for_s=back_at + 120)
    assert outbox.states() == {1: "settled"}
    assert len({a.body for a in to.attempts}) == 1
    gaps = [b.at - a.at - 30.0 for a, b in zip(to.attempts, to.attempts[1:], strict=False)]
    assert gaps[0] <= 1.01
    assert max(gaps) <= 30.01
    assert min(gaps[6:]) >= 14.9
    assert to.attempts[-1].at - back_at <= 61


def test_mirth_1314_an_outage_does_not_flood_the_destination() -> None:
    """Mirth #1314: 2,000 messages wait, the EMR is silent for an hour; it sees a probe now and then, not a storm."""
    hour = 3600.0

    def script(attempt: Attempt) -> tuple[float, Outcome]:
        return (0.001, Accepted("")) if attempt.at >= hour else (30.0, Silent("no answer within 30 s"))

    outbox, to = play([f"L{n}" for n in range(2000)], script, for_s=2 * hour, connections=4)
    during = [a for a in to.attempts if a.at < hour]
    assert len(during) < 4 + hour / 30 + 10
    assert during[4].at - 30.0 <= 1.01, "four connections that fail at once are one outage"
    after_first_answer = [a for a in to.attempts if a.at >= hour]
    assert len(after_first_answer) <= 2000
    assert set(outbox.states().values()) == {"settled"}
    assert after_first_answer[-1].at - after_first_answer[0].at < 60, "then everything catches up"


def test_an_unreachable_destination_costs_the_store_nothing() -> None:
    """No connection for a day: one probe at a time, at most two a minute, no write, at most a line a minute."""
    lines: list[tuple[float, str]] = []

    def say(event: str, **ids: object) -> None:
        lines.append((now(), event))

    def script(attempt: Attempt) -> tuple[float, Outcome]:
        return (0.001, Accepted("")) if attempt.at >= DAY_S else (0.0, Unreachable("nothing listens there"))

    outbox, to = play([f"L{n}" for n in range(500)], script, for_s=DAY_S + 300, say=say)
    during = [a for a in to.attempts if a.at < DAY_S]
    assert len(during) <= DAY_S / 15 + 10
    assert sum(owed.retries for owed in outbox.owed.values()) == 0
    assert set(outbox.states().values()) == {"settled"}
    said = [at for at, event in lines if event == "destination_away"]
    assert min(b - a for a, b in itertools.pairwise(said)) >= 60
    assert [event for _, event in lines][-1] == "destination_back"
    assert all(lane not in repr(lines) for lane in ("L1", "body"))


def test_mirth_6164_a_poison_message_blocks_its_lane_only() -> None:
    """Mirth #6164: one message is refused; it parks with the EMR's words, its lane stands, 1,000 others pass."""

    def script(attempt: Attempt) -> tuple[float, Outcome]:
        return (0.001, Refused("unknown test") if attempt.id == 1 else Accepted(""))

    outbox, to = play(["bad", "bad", *(f"L{n}" for n in range(1000))], script, for_s=60)
    assert outbox.owed[1].state == "parked" and outbox.owed[1].words == "unknown test"
    assert outbox.owed[2].state == "ready"
    assert [n for n, s in outbox.states().items() if s != "settled"] == [1, 2]
    assert sum(a.id == 1 for a in to.attempts) == 1
    assert not any(a.id == 2 for a in to.attempts), "a correction never overtakes a parked original"


def test_mirth_1682_the_message_behind_the_thousandth_leaves_too() -> None:
    """Mirth #1682: more wait than are looked at at once; message 1,001 and all behind it go, each lane in its order."""
    outbox, to = play([f"L{n % 700}" for n in range(2500)], lambda _: (0.001, Accepted("")), for_s=60)
    assert set(outbox.states().values()) == {"settled"}
    assert len(to.attempts) == 2500
    for lane in range(700):
        ids = [a.id for a in to.attempts if (a.id - 1) % 700 == lane]
        assert ids == sorted(ids)


def test_a_message_on_which_the_destination_chokes_does_not_stop_the_others() -> None:
    """Never an answer to one message: it is tried for ever, and between its tries everything else passes."""

    def script(attempt: Attempt) -> tuple[float, Outcome]:
        return (
            (0.002, Silent("the connection was closed before the answer")) if attempt.id == 1 else (0.001, Accepted(""))
        )

    outbox, to = play(["choke", *(f"L{n}" for n in range(300))], script, for_s=600)
    assert [n for n, s in outbox.states().items() if s != "settled"] == [1]
    assert outbox.owed[1].state == "ready"
    last_other = max(a.at for a in to.attempts if a.id != 1)
    assert last_other < 10
    assert sum(a.id == 1 for a in to.attempts) > 15


def test_new_lanes_get_through_while_a_choking_one_is_all_there_is() -> None:
    """The only delivery in hand chokes the destination; one that comes later is the next probe."""

    def script(attempt: Attempt) -> tuple[float, Outcome]:
        return (0.002, Silent("closed")) if attempt.id == 1 else (0.001, Accepted(""))

    outbox, to = MemoryOutbox(), ScriptedDestination(script)

    async def run() -> float:
        outbox.owe("choke")
        async with running(outbox, to) as sender:
            await asyncio.sleep(1000)
            outbox.owe("new")
            sender.wake()
            await asyncio.sleep(100)
        return next(a.at for a in to.attempts if a.id == 2) - 1000

    assert simulate(run) <= 31


def test_a_refusal_that_may_pass_is_tried_five_times_then_parked() -> None:
    """AR, or AE with 206 or 207: five tries with growing waits, then it is a person's; others go on meanwhile."""

    def script(attempt: Attempt) -> tuple[float, Outcome]:
        return (0.001, Refused("locked", may_retry=True) if attempt.id == 1 else Accepted(""))

    outbox, to = play(["A", "B", "C"], script, for_s=300)
    assert outbox.states() == {1: "parked", 2: "settled", 3: "settled"}
    tries = [a.at for a in to.attempts if a.id == 1]
    assert len(tries) == 5
    assert [round(b - a, 3) <= 2.0**n + 0.01 for n, (a, b) in enumerate(itertools.pairwise(tries))] == [True] * 4
    assert outbox.owed[1].retries == 4
    assert max(a.at for a in to.attempts if a.id > 1) < 0.1


def test_a_site_may_ask_for_fewer_tries() -> None:
    """The schedule is the destination's own: two tries, ten seconds apart at most."""
    outbox, to = play(
        ["A"],
        lambda _: (0.0, Refused("locked", may_retry=True)),
        schedule=Schedule(first_s=10.0, longest_s=10.0, refusals=2),
    )
    assert outbox.states() == {1: "parked"}
    assert len(to.attempts) == 2 and 5 <= to.attempts[1].at - to.attempts[0].at <= 10.1


def test_refusals_are_counted_over_a_restart() -> None:
    """What was refused four times before the restart is parked at the fifth, not at the ninth."""
    outbox = MemoryOutbox()
    to = ScriptedDestination(lambda _: (0.001, Refused("locked", may_retry=True)))

    async def run() -> None:
        outbox.owe("A")
        outbox.owed[1].delivery = Delivery(1, "A", "LG-1", b"x", refusals=4)
        async with running(outbox, to):
            await asyncio.sleep(60)

    simulate(run)
    assert len(to.attempts) == 1 and outbox.states() == {1: "parked"}


def test_silence_between_refusals_is_not_counted() -> None:
    """Only refusals park; a hundred silences between them do not."""
    outcomes = iter([Silent("x")] * 100 + [Refused("r", may_retry=True)] * 4 + [Silent("x")] * 20 + [Accepted("")])
    outbox, _ = play(["A"], lambda _: (0.1, next(outcomes)), for_s=DAY_S)
    assert outbox.states() == {1: "settled"}


def test_an_answer_is_not_sent_again_when_the_store_cannot_book_it() -> None:
    """The EMR has taken it, the store is away for a minute: booked later, sent once."""
    outbox, to = MemoryOutbox(), ScriptedDestination()

    async def run() -> None:
        outbox.owe("A")
        outbox.owe("A")
        async with running(outbox, to) as sender:
            await asyncio.sleep(0.003)
            outbox.failing = True
            sender.wake()
            await asyncio.sleep(60)
            outbox.failing = False
            await asyncio.sleep(60)

    simulate(run)
    assert [a.id for a in to.attempts] == [1, 2]
    assert outbox.states() == {1: "settled", 2: "settled"}


def test_behind_a_store_that_was_away_the_next_of_a_lane_waits_for_seconds_only() -> None:
    """Away for an hour while an answer was to be booked: soon after it is back the lane goes on."""
    outbox, to = MemoryOutbox(), ScriptedDestination()

    async def run() -> None:
        outbox.owe("A")
        outbox.owe("A")
        async with running(outbox, to):
            await asyncio.sleep(0.003)
            outbox.failing = True
            await asyncio.sleep(3600)
            outbox.failing = False
            await asyncio.sleep(6)

    simulate(run)
    assert outbox.states() == {1: "settled", 2: "settled"}
    assert to.attempts[1].at < 3605


def test_a_store_that_gives_nothing_is_said() -> None:
    """Deliveries that cannot be read for an hour: said once a minute and in the health, then they leave."""
    lines: list[tuple[float, str, object]] = []
    outbox, to = MemoryOutbox(failing=True), ScriptedDestination()

    async def run() -> None:
        outbox.owe("A")
        async with running(outbox, to, say=lambda event, **ids: lines.append((now(), event, ids.get("why")))) as sender:
            await asyncio.sleep(3600)
            assert sender.health().trouble == "away"
            outbox.failing = False
            await asyncio.sleep(5)
            assert sender.health().trouble == ""

    simulate(run)
    assert {line[1:] for line in lines} == {("deliveries_stand_still", "away")}
    assert 55 <= len(lines) <= 61
    assert outbox.states() == {1: "settled"}


def test_a_freed_delivery_goes_on_with_its_lane() -> None:
    """A person presses Retry: the parked one leaves, then what stood behind it, in order."""
    refuse = [True]
    to = ScriptedDestination(lambda a: (0.001, Refused("no") if a.id == 1 and refuse else Accepted("")))
    outbox = MemoryOutbox()

    async def run() -> None:
        outbox.owe("A")
        outbox.owe("A")
        async with running(outbox, to) as sender:
            await asyncio.sleep(10)
            assert outbox.states() == {1: "parked", 2: "ready"}
            refuse.clear()
            outbox.owed[1].state = "ready"
            sender.wake()
            await asyncio.sleep(1)

    simulate(run)
    assert to.answered() == [1, 1, 2]


def test_shadow_keeps_everything_and_sends_nothing() -> None:
    """shadow = true: no connection, no message, the deliveries stay."""
    outbox, to = play(["A", "B"], shadow=True)
    assert not to.attempts and set(outbox.states().values()) == {"ready"}


def test_a_gap_between_messages_where_the_destination_needs_one() -> None:
    """gap_s: receivers that cannot take two within that time (Mirth #744)."""
    _, to = play(["A", "B", "C", "D"], gap_s=2.0, connections=3)
    assert all(b.at - a.at > 1.999 for a, b in zip(to.attempts, to.attempts[1:], strict=False))
    assert len(to.attempts) == 4


def test_it_stops_within_a_second() -> None:
    """Cancelled with a silent message under way: closed within a second, nothing booked that was not answered."""
    outbox, to = MemoryOutbox(), ScriptedDestination(lambda _: (30.0, Silent("x")))

    async def run() -> float:
        outbox.owe("A")
        async with running(outbox, to):
            await asyncio.sleep(5)
            stop_at = now()
        return now() - stop_at

    assert simulate(run) <= 1.0
    assert to.closed and outbox.states() == {1: "ready"}


def test_an_answer_on_its_way_is_still_booked_at_the_end() -> None:
    """Cancelled while the answer is 100 ms away: it is waited for and settled."""
    outbox, to = MemoryOutbox(commit_s=0.1), ScriptedDestination(lambda _: (0.1, Accepted("")))

    async def run() -> None:
        outbox.owe("A")
        outbox.owe("B")
        async with running(outbox, to):
            await asyncio.sleep(0.05)

    simulate(run)
    assert outbox.states() == {1: "settled", 2: "ready"}


def test_health_tells_the_outage() -> None:
    """State, since when and why; last answer; counters."""
    outbox = MemoryOutbox()
    to = ScriptedDestination(
        lambda a: (0.0, Unreachable("nothing listens there")) if 100 < a.at < 200 else (0.0, Accepted(""))
    )

    async def run() -> None:
        async with running(outbox, to) as sender:
            assert sender.health().state is State.STARTING
            for at in range(0, 250, 50):
                await asyncio.sleep(at - now() + 1)
                outbox.owe(f"L{at}")
                sender.wake()
                await asyncio.sleep(0.1)
                health = sender.health()
                match at:
                    case 0 | 50:
                        assert (health.state, health.in_hand, health.why) == (State.ANSWERING, 0, "")
                    case 100 | 150:
                        assert (health.state, health.why) == (State.AWAY, "nothing listens there")
                        assert round((health.since - utcnow()).total_seconds()) == 100 - at
                        assert health.last_answer_at is not None and health.accepted == 2
                    case _:
                        pass
            await asyncio.sleep(60)
            assert sender.health().state is State.ANSWERING
            assert (sender.health().accepted, sender.health().in_hand) == (5, 0)
        assert sender.health().state is State.STOPPED

    simulate(run)


def test_a_defect_in_a_destination_is_silence() -> None:
    """A destination that raises costs a retry, not the sender."""
    outcomes = iter([True, True, False])

    def script(_: Attempt) -> tuple[float, Outcome]:
        if next(outcomes):
            raise ZeroDivisionError("NGUYEN VAN A")
        return 0.0, Accepted("")

    said: list[str] = []
    outbox, _ = play(["A"], script, say=lambda event, **ids: said.append(repr(ids)))
    assert outbox.states() == {1: "settled"}
    assert "ZeroDivisionError" in "".join(said) and "NGUYEN" not in "".join(said)


OUTCOMES = st.sampled_from(
    [Accepted("")] * 4 + [Silent("x"), Unreachable("x"), Refused("no"), Refused("locked", may_retry=True)]
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), connections=st.integers(1, 4), commit_s=st.sampled_from([0.0, 0.001, 0.2, 5.0]),
       read_s=st.sampled_from([0.0, 0.003, 0.4]), window=st.sampled_from([2, 5, 64]),
       careless=st.booleans())  # fmt: skip
def test_whatever_happens_the_invariants_hold(
    data: st.DataObject, connections: int, commit_s: float, read_s: float, window: int, careless: bool
) -> None:
    """E1 to E5: each is settled, parked or behind a parked one; order per lane; same bytes; none after settlement."""
    lanes = data.draw(st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=25))
    late = data.draw(st.lists(st.tuples(st.floats(0, 50), st.sampled_from("ABCDE")), max_size=10))
    seed = data.draw(st.integers(0, 2**32))
    chance = random.Random(seed)
    choices: list[Outcome] = data.draw(st.lists(OUTCOMES, min_size=1, max_size=40))
    outbox = MemoryOutbox(commit_s=commit_s, read_s=read_s, careless=careless)
    if careless:
        window = 64  # a careless store may fill a small window with one lane
    flying: set[str] = set()

    def script(attempt: Attempt) -> tuple[float, Outcome]:
        number = len(to.attempts) - 1
        outcome = choices[number] if number < len(choices) else Accepted("")
        return chance.choice([0.0, 0.001, 0.3, 30.0 if isinstance(outcome, Silent) else 0.1]), outcome

    class Watching(ScriptedDestination):
        async def send(self, body: bytes, control_id: str) -> Outcome:
            owed = outbox.owed[int(control_id.removeprefix("LG-"))]
            lane = owed.delivery.lane
            assert owed.state == "ready", "sent although it was settled or parked"
            assert lane not in flying, "two of one lane at once"
            assert body == owed.delivery.body
            before = [o for n, o in outbox.owed.items() if o.delivery.lane == lane and n < owed.delivery.id]
            assert all(o.state == "settled" for o in before), "overtook what stands before it in its lane"
            flying.add(lane)
            try:
                return await super().send(body, control_id)
            finally:
                flying.discard(lane)

    to = Watching(script, connections=connections)

    async def run() -> None:
        for lane in lanes:
            outbox.owe(lane)
        async with running(outbox, to, window=window) as sender:
            for at, lane in sorted(late):
                await asyncio.sleep(max(0.0, at - now()))
                outbox.owe(lane)
                sender.wake()
            await asyncio.sleep(DAY_S)

    simulate(run)
    assert to.most_under_way <= connections
    assert not any(isinstance(a.outcome, type(None)) for a in to.attempts)
    parked: set[str] = set()
    for owed in outbox.owed.values():
        lane = owed.delivery.lane
        if lane in parked:
            assert owed.state == "ready"
        else:
            assert owed.state in ("settled", "parked")
        if owed.state == "parked":
            parked.add(lane)
    for number, owed in outbox.owed.items():
        yes = [a for a in to.attempts if a.id == number and isinstance(a.outcome, Accepted)]
        assert len(yes) == (owed.state == "settled"), "accepted once, and only then settled"


@settings(max_examples=12, deadline=None)
@given(data=st.data(), lanes=st.integers(60, 400), window=st.sampled_from([8, 64]), connections=st.integers(1, 3))
def test_live_results_do_not_wait_for_the_backlog(
    data: st.DataObject, lanes: int, window: int, connections: int
) -> None:
    """Behind a backlog of any length a new lane leaves after at most two windows of others; the oldest get every other turn."""
    specimens = [f"S{n % lanes}" for n in range(500)]
    came = sorted(data.draw(st.lists(st.integers(1, 150), min_size=1, max_size=10)))
    outbox, to = MemoryOutbox(), ScriptedDestination(lambda _: (0.01, Accepted("")), connections=connections)
    waits: dict[int, int] = {}

    async def run() -> None:
        for lane in specimens:
            outbox.owe(lane)
        async with running(outbox, to, window=window) as sender:
            for n, attempts in enumerate(came):
                while len(to.attempts) < attempts:
                    await asyncio.sleep(0.01)
                waits[outbox.owe(f"new {n}")] = len(to.attempts)
                sender.wake()
            await asyncio.sleep(DAY_S)

    simulate(run)
    order = [a.id for a in to.attempts]
    assert len(order) == len(set(order)) == 500 + len(came)
    for number, since in waits.items():
        assert order.index(number) - since <= 2 * window + 2 * len(came)
    assert order.index(40) <= 80 + 2 * window, "the oldest have every other turn"
    for lane in set(specimens):
        sent = [number for number in order if outbox.owed[number].delivery.lane == lane]
        assert sent == sorted(sent), "in order within a specimen"


def test_a_destination_that_asks_for_time_gets_it() -> None:
    """Retry-After: nothing at all leaves sooner, of any lane; afterwards everything does."""

    def script(attempt: Attempt) -> tuple[float, Outcome]:
        return 0.01, Silent("it answers 429", 120.0) if attempt.at < 100 else Accepted()

    outbox, to = play(["A", "B", "C"], script)
    assert set(outbox.states().values()) == {"settled"}
    assert [a.id for a in to.attempts if a.at < 120] == [1]
    assert min(a.at for a in to.attempts[1:]) < 125


def test_no_more_leaves_in_a_second_than_is_allowed() -> None:
    """per_second = 5: a fifth of a second between any two, whatever the lane."""
    _, to = play([f"L{n}" for n in range(50)], connections=8, gap_s=0.2)
    assert len(to.attempts) == 50
    assert min(b.at - a.at for a, b in itertools.pairwise(to.attempts)) >= 0.2 - 1e-9
    assert to.attempts[-1].at < 11
