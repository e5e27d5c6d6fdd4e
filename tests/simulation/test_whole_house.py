"""Orders placed, changed, cancelled and merged; instruments that send, repeat, correct and mix; an EMR that is up,
silent, late or refuses; crashes, clock jumps, backups put back. After each step every promise is asked.

200 examples here; 20,000 with ``make soak``. A failing example prints its steps as a program.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.simulation import persons, pruning
from tests.simulation.lab import Lab
from tests.simulation.promises import check
from tests.simulation.truth import ASKED, BIRTHS, PEOPLE, TESTS, WINDOW_H, Order, Tube, in_window, line_of

_LABELS = st.sampled_from(["A100", "A101", "B200", "0123", "123"])
_NTH = st.integers(0, 3)
"""How far back: mostly what is new."""
_CODES = st.sampled_from(sorted(ASKED))
_PIDS = st.sampled_from([pid for ids in PEOPLE.values() for pid in ids])
RARE = ("merge", "order again", "control", "crash", "crash", "back up", "restore", "old bytes again", "prune")


class WholeHouse(RuleBasedStateMachine):
    """Steps of a laboratory."""

    @initialize()
    def open(self) -> None:
        """An empty store."""
        self.lab = Lab()

    def teardown(self) -> None:
        """A good day at the end: everything that may leave arrives, and the promises hold once more."""
        if hasattr(self, "lab"):
            try:
                self.lab.process()
                self.lab.drain()
                check(self.lab)
                assert not self.lab.rows("SELECT id FROM delivery WHERE state IN ('waiting', 'parked')")
            finally:
                self.lab.disk.close()

    @invariant()
    def promises(self) -> None:
        """All of them."""
        if hasattr(self, "lab"):
            check(self.lab)

    def _tube(self, nth: int) -> Tube:
        return self.lab.tubes[-1 - nth % len(self.lab.tubes)]

    def _order(self, nth: int) -> Order:
        return list(self.lab.orders.values())[-1 - nth % len(self.lab.orders)]

    # --- ward and EMR ---

    @rule(label=_LABELS, person=st.sampled_from(sorted(PEOPLE)), second=st.booleans())
    def draw(self, label: str, person: str, second: bool) -> None:
        """A tube, perhaps under a label that was used before."""
        ids = PEOPLE[person]
        if self.lab.may_draw(label, person):
            self.lab.draw(label, person, ids[-1] if second else ids[0])

    @rule(
        person=st.sampled_from(sorted(PEOPLE)), code=_CODES, late=st.booleans(),
        naming=st.booleans(), status=st.sampled_from("FFFPC"), instrument=st.sampled_from(["a1", "a2"]),
    )  # fmt: skip
    def visit(self, person: str, code: str, late: bool, naming: bool, status: str, instrument: str) -> None:
        """The usual: blood is drawn, ordered and measured, the order perhaps behind the result."""
        tube = self.lab.draw(f"V{self.lab.next():03}", person, PEOPLE[person][0])
        if not late:
            self.lab.order(tube, code)
        self._measure(tube, set(ASKED[code]), instrument, status, naming=naming, timed=True, now=True)
        if late:
            self.lab.order(tube, code)

    @rule(
        people=st.permutations(sorted(PEOPLE)), codes=st.tuples(_CODES, _CODES), ordered=st.tuples(st.booleans(), st.booleans()),
        hours=st.sampled_from([0, 2, 5, 80, 330]), naming=st.booleans(), late=st.booleans(),
        before=st.sampled_from(["", "GLU", "HGB"]),
    )  # fmt: skip
    def a_label_comes_again(
        self,
        people: list[str],
        codes: tuple[str, str],
        ordered: tuple[bool, bool],
        hours: int,
        naming: bool,
        late: bool,
        before: str,
    ) -> None:
        """Two people's tubes under one label, some hours apart; each is measured for what the other may have been ordered."""
        label = f"W{self.lab.next():03}"
        first = self.lab.draw(label, people[0], PEOPLE[people[0]][0])
        if ordered[0]:
            self.lab.order(first, codes[0])
        if before:
            self._measure(first, {before}, "a1", "F", naming=naming, timed=True, now=True)
        if hours:
            self.lab.pass_time(timedelta(hours=hours))
        if not self.lab.may_draw(label, people[1]):
            return
        second = self.lab.draw(label, people[1], PEOPLE[people[1]][0])
        if ordered[1] and not late:
            self.lab.order(second, codes[1])
        for tube in (second, first) if hours < WINDOW_H else (second,):
            self._measure(tube, {"GLU", "WBC"}, "a1", "F", naming=naming, timed=True, now=True)
        if ordered[1] and late:
            self.lab.order(second, codes[1])

    @rule(
        person=st.sampled_from(sorted(PEOPLE)), how=st.lists(st.sampled_from(["CA", "measure", "correct"]), max_size=4)
    )
    def a_clerk_errs(self, person: str, how: list[str]) -> None:
        """An order for somebody else is taken back, mended and answered, in any order."""
        tube = self.lab.draw(f"X{self.lab.next():03}", person, PEOPLE[person][0])
        order = self.lab.order(tube, "GLU", said=next(ids[0] for who, ids in PEOPLE.items() if who != person))
        for step in how:
            match step:
                case "measure":
                    self._measure(tube, {"GLU"}, "a1", "F", naming=False, timed=True, now=True)
                case "correct":
                    self.lab.correct(order)
                case word:
                    self.lab.cancel(order, word)

    @rule(
        person=st.sampled_from(sorted(PEOPLE)), codes=st.sampled_from([("HGB", "CBC"), ("CBC", "HGB"), ("GLU", "GLU"), ("CBC", "CBC")]),
        how=st.permutations(["one", "two", "measure", "measure"]), word=st.sampled_from(["", "CA", "DC"]), wrong=st.booleans(),
        much_later=st.booleans(),
    )  # fmt: skip
    def ordered_twice(
        self, person: str, codes: tuple[str, str], how: list[str], word: str, wrong: bool, much_later: bool
    ) -> None:
        """One tube, two orders that ask for the same test, perhaps one for somebody else; perhaps the second is taken back."""
        tube = self.lab.draw(f"Z{self.lab.next():03}", person, PEOPLE[person][0])
        other = next(ids[0] for who, ids in PEOPLE.items() if who != person) if wrong else None
        second = None
        for step in how:
            match step:
                case "one":
                    self.lab.order(tube, codes[0])
                case "two":
                    second = self.lab.order(tube, codes[1], said=other)
                case _:
                    self._measure(tube, set(ASKED[codes[0]]), "a1", "F", naming=False, timed=True, now=True)
        if word and second is not None:
            self.lab.cancel(second, word)
            self._measure(tube, set(ASKED[codes[0]]), "a1", "F", naming=False, timed=True, now=True)
        if much_later:
            # What is held is about both orders as long as it is held, and no month ends that.
            self.lab.pass_time(timedelta(days=32))
            pruning.take_out(self.lab)
            self.lab.update(tube.said, right=True)

    @rule(
        person=st.sampled_from(sorted(PEOPLE)), code=_CODES, late=st.booleans(), naming=st.booleans(),
        with_order=st.sampled_from(["", "", "GLU", "CBC"]), which=st.lists(st.integers(0, 2), min_size=1, max_size=3),
    )  # fmt: skip
    def tubes_from_a_tube(
        self, person: str, code: str, late: bool, naming: bool, with_order: str, which: list[int]
    ) -> None:
        """Blood is filled into another tube and into a third; any of them is measured, perhaps before that is said."""
        first = self.lab.draw(f"Q{self.lab.next():03}", person, PEOPLE[person][0])
        self.lab.order(first, code)
        tubes = [first, self.lab.aliquot(first, with_order=with_order)]
        if late:
            self._measure(tubes[-1], set(ASKED[code]), "a1", "F", naming=naming, timed=True, now=True)
        tubes.append(self.lab.aliquot(tubes[-1], with_order=with_order))
        for nth in which:
            self._measure(tubes[nth], set(ASKED[code]), "a1", "F", naming=naming, timed=True, now=True)

    @precondition(lambda self: self.lab.tubes)
    @rule(nth=_NTH, with_order=st.sampled_from(["", "", "GLU", "CBC"]))
    def aliquot(self, nth: int, with_order: str) -> None:
        """Of any tube whose label is on no other."""
        if not self.lab.is_shared(self._tube(nth)):
            self.lab.aliquot(self._tube(nth), with_order=with_order)

    @precondition(lambda self: self.lab.orders)
    @rule(nth=_NTH, other=_NTH)
    def move(self, nth: int, other: int) -> None:
        """An order is said to be for another tube of the same person, and perhaps back again."""
        order, tube = self._order(nth), self._tube(other)
        if (
            tube.person == order.now.tube.person
            and not self.lab.is_shared(tube)
            and not self.lab.is_shared(order.now.tube)
        ):
            self.lab.move(order, tube)

    @rule(pid=_PIDS, right=st.booleans(), measured=st.booleans())
    def update(self, pid: str, right: bool, measured: bool) -> None:
        """The EMR mistypes a birth date, or mends it."""
        tube = self.lab.tubes[-1] if self.lab.tubes else None
        self.lab.update(pid, right=right)
        if measured and tube is not None:
            self._measure(tube, {"GLU", "HGB"}, "a1", "F", naming=True, timed=True, now=True)

    @rule(
        statuses=st.lists(st.sampled_from("FPC"), min_size=2, max_size=4),
        test=st.sampled_from(TESTS),
        timed=st.booleans(),
        reviewed=st.lists(st.integers(-4, -1), max_size=4),
    )
    def several_versions(self, statuses: list[str], test: str, timed: bool, reviewed: list[int]) -> None:
        """One test of one tube is sent several times, with other values and letters; a person goes through what is held."""
        tube = self.lab.draw(f"Y{self.lab.next():03}", "mai", PEOPLE["mai"][0])
        self.lab.order(tube, next(code for code, tests in ASKED.items() if test in tests))
        for status in statuses:
            self._measure(tube, {test}, "a1", status, naming=True, timed=timed, now=True)
            self.lab.pass_time(timedelta(minutes=1))
        for nth in reviewed:
            persons.review(self.lab, nth)

    @precondition(lambda self: self.lab.tubes)
    @rule(nth=_NTH, code=_CODES)
    def order(self, nth: int, code: str) -> None:
        """The EMR orders, perhaps long after the tube was drawn."""
        tube = self._tube(nth)
        # Long after, with the label on another tube meanwhile, no gateway could tell the two apart.
        if not self.lab.is_shared(tube) or self.lab.now - tube.drawn < timedelta(hours=1):
            self.lab.order(tube, code)

    @precondition(lambda self: self.lab.tubes)
    @rule(nth=_NTH, code=_CODES, wrong=st.sampled_from(["1002", "1003"]))
    def order_for_somebody_else(self, nth: int, code: str, wrong: str) -> None:
        """A clerk's mistake, on a label that is on one tube only."""
        tube = self._tube(nth)
        if not self.lab.is_shared(tube):
            self.lab.order(tube, code, said=wrong)

    @precondition(lambda self: self.lab.orders)
    @rule(nth=_NTH, how=st.sampled_from(["CA", "DC", "again", "correct"]))
    def change(self, nth: int, how: str) -> None:
        """The EMR cancels an order, places a cancelled one again, or mends its patient."""
        order = self._order(nth)
        match how:
            case "again":
                self.lab.reopen(order)
            case "correct":
                self.lab.correct(order)
            case word:
                self.lab.cancel(order, word)

    # --- analyzers ---

    @precondition(lambda self: self.lab.tubes)
    @rule(
        nth=_NTH, tests=st.sets(st.sampled_from(TESTS), min_size=1), instrument=st.sampled_from(["a1", "a1", "a1", "a2"]),
        status=st.sampled_from("FFFFPC"), naming=st.booleans(), timed=st.booleans(), now=st.booleans(),
    )  # fmt: skip
    def measure(
        self, nth: int, tests: set[str], instrument: str, status: str, naming: bool, timed: bool, now: bool
    ) -> None:
        """A tube is measured; processed at once or later."""
        self._measure(self._tube(nth), tests, instrument, status, naming=naming, timed=timed, now=now)

    def _measure(
        self, tube: Tube, tests: set[str], instrument: str, status: str, *, naming: bool, timed: bool, now: bool
    ) -> None:
        if not self.lab.may_measure(tube, naming=naming):
            return
        clear = [test for test in sorted(tests) if now and self._is_clear(tube, test, status, naming=naming)]
        results = [(test, self.lab.value(tube, test, naming=naming), status) for test in sorted(tests)]
        tube.measured |= tests
        self.lab.arrive(
            instrument,
            self.lab.message([(tube, tube.specimen, results)], naming=naming, measured=self.lab.now if timed else None),
        )
        if now:
            self.lab.process()
        for test, value, _ in results:
            if test in clear:
                rows = self._became(value)
                assert rows == ["released"], f"nothing stands against it, and it is {rows}"

    def _became(self, value: str) -> list[str]:
        """What became of a value."""
        query = f"SELECT state FROM observation WHERE coalesce(original_value, value) = '{value}'"
        return [str(row[0]) for row in self.lab.rows(query)]

    def _is_clear(self, tube: Tube, test: str, status: str, *, naming: bool) -> bool:
        """Would anybody hold this? One order that nothing happened to, the first word about the test on any of its tubes."""
        line = line_of(tube)
        near = [t for t in self.lab.tubes if set(line_of(t)) & set(line)]
        asking = [o for one in line for o in self.lab.of(one) if test in ASKED[o.code]]
        return (
            status == "F"
            and not any(one.disturbed for one in near)
            and not self.lab.queue
            and not any(test in one.measured for one in near)
            and len(asking) == 1
            and asking[0].now.is_open
            and in_window(asking[0].now.tube, self.lab.now)
            and not (naming and asking[0].now.born != self._born(tube))
        )

    def _born(self, tube: Tube) -> str:
        return BIRTHS[tube.person][0]

    @precondition(lambda self: len(self.lab.tubes) > 1)
    @rule(first=_NTH, second=_NTH, test=st.sampled_from(TESTS))
    def measure_two_in_one_message(self, first: int, second: int, test: str) -> None:
        """Two tubes in one message, each named."""
        tubes = (self._tube(first), self._tube(second))
        if all(self.lab.may_measure(tube, naming=True) for tube in tubes):
            parts = [(tube, tube.specimen, [(test, self.lab.value(tube, test, naming=True), "F")]) for tube in tubes]
            for tube in tubes:
                tube.measured.add(test)
            self.lab.arrive("a1", self.lab.message(list(parts), naming=True, measured=self.lab.now))

    @precondition(lambda self: self.lab.tubes)
    @rule(nth=_NTH, label=st.sampled_from(["", "0", "000", "UNKNOWN", "A1", "a100"]), test=st.sampled_from(TESTS),
          ordered=st.booleans())  # fmt: skip
    def misread(self, nth: int, label: str, test: str, ordered: bool) -> None:
        """The barcode could not be read, or not whole; the EMR may even have an order on what was sent instead."""
        tube = self._tube(nth)
        if ordered and label in ("0", "000", "UNKNOWN") and self.lab.may_draw(label, "mai"):
            other = self.lab.draw(label, "mai", PEOPLE["mai"][0])
            other.disturbed = True
            self.lab.order(other, next(code for code, tests in ASKED.items() if test in tests))
        value = self.lab.value(tube, test, naming=False)
        self.lab.arrive("a1", self.lab.message([(tube, label, [(test, value, "F")])], naming=False, measured=None))
        self.lab.process()
        assert self._became(value)[0] in ("held", "waiting"), "P2"

    @precondition(lambda self: self.lab.sent)
    @rule(nth=_NTH)
    def send_again(self, nth: int) -> None:
        """An instrument lost our ACK and sends the same bytes once more."""
        self._again(self.lab.sent[-1 - nth % len(self.lab.sent)])

    def _again(self, message: tuple[str, bytes]) -> None:
        instrument, raw = message
        tubes = [t for t in self.lab.tubes if f"|{t.specimen}|" in raw.decode()]
        if all(self.lab.may_measure(tube, naming=False) for tube in tubes):
            for tube in tubes:
                tube.disturbed = True
            self.lab.arrive(instrument, raw)

    @rule()
    def process(self) -> None:
        """The pipeline takes up what is stored."""
        self.lab.process()

    # --- the rest of the world ---

    @rule(mood=st.sampled_from(["up", "up", "late", "silent", "refuses"]), nth=_NTH)
    def deliver(self, mood: str, nth: int) -> None:
        """One delivery."""
        self.lab.deliver(mood, nth)

    @rule()
    def drain(self) -> None:
        """The EMR takes everything."""
        self.lab.drain()

    @rule(nth=_NTH, what=st.sampled_from(["review", "review", "stale", "take back", "relink", "relink", "err"]))
    def decide(self, nth: int, what: str) -> None:
        """A person decides about something that is held, waits, or is out."""
        match what:
            case "review":
                persons.review(self.lab, nth)
            case "stale":
                persons.stale(self.lab, nth)
            case "take back":
                persons.take_back(self.lab, nth)
            case word:
                persons.relink(self.lab, nth, errs=word == "err")

    @rule(minutes=st.sampled_from([-20, 1, 30, 300, 24 * 60, 80 * 60, 330 * 60]))
    def pass_time(self, minutes: int) -> None:
        """The wall clock moves."""
        self.lab.pass_time(timedelta(minutes=minutes))

    @rule(
        what=st.sampled_from(RARE), label=_LABELS, test=st.sampled_from(TESTS), after=st.integers(0, 60),
        days=st.sampled_from([0, 0, 31, 45]),
    )  # fmt: skip
    def something_rare(self, what: str, label: str, test: str, after: int, days: int) -> None:
        """What happens once in a while."""
        lab = self.lab
        match what:
            case "merge":
                lab.merge()
            case "order again" if lab.told:
                lab.again(lab.told[-1][0])
            case "old bytes again" if lab.sent:
                self._again(lab.sent[after % len(lab.sent)])
            case "prune":
                lab.pass_time(timedelta(days=days))
                pruning.take_out(lab)
            case "control":
                value = f"9{lab.next()}.1"
                lab.arrive("a1", lab.message([(None, label, [(test, value, "F")])], naming=False, measured=None))
            case "crash":
                lab.crash_in_processing(after)
            case "back up":
                lab.back_up()
            case "restore" if lab.disk.is_backed_up:
                lab.restore()
            case _:
                pass


def lives(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


@pytest.mark.timeout(900)
def test_whole_house() -> None:
    """200 lives of a laboratory; LABGATEWAY_EXAMPLES says how many else."""
    run_state_machine_as_test(WholeHouse, settings=lives(int(os.environ.get("LABGATEWAY_EXAMPLES", "200"))))


@pytest.mark.soak
@pytest.mark.timeout(10_800)
def test_whole_house_for_long() -> None:
    """20,000 of them."""
    run_state_machine_as_test(WholeHouse, settings=lives(20_000))
