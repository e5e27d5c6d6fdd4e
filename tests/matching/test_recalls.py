"""What went wrong elsewhere, played here: each recall and each defect that research names, as far as matching can stop it.

Invented people; the numbers are those of the recall notices and repositories (RELIABILITY section 7, MIDDLEWARE).
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations
from typing import Any

from labgateway.errors import Reason
from labgateway.matching.attribute import Attached, Held, Policy, Waits, still_stands
from labgateway.matching.check_digits import CheckDigit
from labgateway.matching.versions import Correction, Duplicate, Hold, Place, version
from labgateway.model import ObservationState, Patient, ResultLetter, Status
from tests.matching.people import HUNG, LAN, candidate, fresh, judge, order, prior
from tests.matching.world import World


def test_bd_synapsys_z_1051_2019_an_order_tied_to_the_wrong_culture() -> None:
    """A culture runs for days, its accession is given out again: the late result goes to neither patient by itself."""
    week = Policy(window_h=168)
    culture, newcomer = order("CULT"), order("CULT", number=2, patient=HUNG, collected=96, received=96)
    late = candidate("CULT", received=120)
    for orders in permutations([culture, newcomer]):
        answer = judge(late, *orders, policy=week)
        assert isinstance(answer, Held)
        assert answer.problem.reason is Reason.AMBIGUOUS_ORDER
    before = judge(candidate("CULT", received=95), culture, newcomer, policy=week)
    assert isinstance(before, Attached)
    assert before.order == culture


def test_bd_synapsys_z_2099_2023_a_stale_page() -> None:
    """P9: between the page and the press of Release the order went to another patient: the old decision does not stand."""
    page = judge(candidate(), order())
    assert isinstance(page, Attached)
    moved = judge(candidate(), order(patient=HUNG))
    told = still_stands(page, moved)
    assert told is not None
    assert told.reason is Reason.ORDER_CHANGED


def test_tecan_2004_old_data_not_purged() -> None:
    """Orders of the last use of an id lie about for years: none of them is seen, and the new one alone is answered."""
    leftovers = [order(number=n, collected=-n * 400.0, received=-n * 400.0, patient=HUNG) for n in range(1, 30)]
    assert isinstance(judge(candidate(), *leftovers), Waits)
    answer = judge(candidate(), *leftovers, order(number=99))
    assert isinstance(answer, Attached)
    assert answer.order == order(number=99)


def test_siemens_aptio_z_2091_2023_two_tubes_within_milliseconds() -> None:
    """Tubes A and B are judged at the same moment, in many threads: each keeps its own order, since nothing is shared."""
    tubes = {"A100": order(), "B200": order(number=2, specimen="B200", patient=HUNG)}
    results = [candidate(specimen=specimen) for specimen in tubes] * 200

    def owner(number: int) -> tuple[str | None, object]:
        what = results[number]
        answer = judge(what, *tubes.values())
        assert isinstance(answer, Attached)
        return what.result.specimen, answer.order

    with ThreadPoolExecutor(8) as pool:
        for specimen, found in pool.map(owner, range(len(results))):
            assert found == tubes[specimen or ""]


def test_roche_cobas_6500_one_barcode_read_for_two_tubes() -> None:
    """RA-65878: the reader gives the second tube the first one's id: its results are held and replace nothing."""
    world = World()
    first, second = world.draw_blood("A100", LAN), world.draw_blood("A101", HUNG)
    world.place_order(first, "GLU")
    world.place_order(second, "GLU")
    right = world.measure(first, value="5.1", measured=1)
    world.hour += 0.1
    wrong = world.measure(second, value="18.4", specimen="A100", measured=1.1)
    assert right.state is ObservationState.RELEASED
    assert (wrong.state, wrong.problem and wrong.problem.reason) == (ObservationState.HELD, Reason.RERUN_DIFFERS)
    named = world.measure(second, "HGB", says_patient=True, specimen="A100")
    assert named.problem is not None
    assert named.problem.reason is Reason.IDENTITY_CONFLICT
    assert [s.value for s in world.emr] == ["5.1"]


def test_biomerieux_vitek_z_1307_2021_a_second_transmission_lost_the_correction() -> None:
    """Final, corrected, then the final once more by HL7: the correction stands, proven resend or not."""
    chain = [
        prior(fresh("S", minute=5)),
        prior(fresh("R", Status.CORRECTED, minute=5), ResultLetter.CORRECTED, name="obs2"),
    ]
    for rerun in ("hold", "last"):
        assert version(fresh("S", minute=5, received=9), chain, rerun) == Duplicate("obs1")
        unproven = [replace(p, fresh=replace(p.fresh, measured_text="", measured_at=None)) for p in chain]
        answer = version(fresh("S", received=9), unproven, rerun)
        assert isinstance(answer, Hold)
        assert answer.problem.reason is Reason.RERUN_DIFFERS


def test_snyder_2010_one_label_read_three_ways() -> None:
    """Misread barcodes may be somebody else's valid looking ids: the site's form and check digit stop them."""
    right, policy = "79927398713", Policy(check=CheckDigit.LUHN, specimen_pattern=re.compile(r"\d{11}"))
    assert isinstance(judge(candidate(specimen=right), order(specimen=right), policy=policy), Attached)
    for misread in ("79927398718", "19927398713", "7992739871"):
        answer = judge(candidate(specimen=misread), order(specimen=misread, patient=HUNG), policy=policy)
        assert isinstance(answer, Held)
        assert answer.problem.reason is Reason.NOT_A_PATIENT_ID


def test_senaite_1844_results_overwritten_against_the_setting() -> None:
    """By default another value of the same test is held, whatever the analyzer calls it but a correction."""
    reported = [prior(fresh("5.10", minute=5))]
    for status in (Status.FINAL, Status.RERUN, Status.PRELIMINARY):
        assert isinstance(version(fresh("9.90", status, minute=9), reported), Hold)


def test_lis_api_upload_overwrites_even_with_empty() -> None:
    """The upload interface that erases a result by an empty one: here an empty one is held, also where the last counts."""
    for status in Status:
        assert isinstance(version(fresh(None, status, minute=9), [prior(fresh("5.10", minute=5))], "last"), Hold)


def test_open_o_114_an_empty_health_card_number_matches_every_other() -> None:
    """Two patients without number, born the same day, same sex: not one person, and no result is theirs by that."""
    one = Patient("", pid5="DOE^JOHN", birth_date="20001224", sex="M")
    other = Patient("", pid5="SMITH^ALEX", birth_date="20001224", sex="M")
    answer = judge(candidate(birth_date="20001224", sex="M"), order(patient=one), order("HGB", number=2, patient=other))
    assert isinstance(answer, Held)
    assert answer.problem.reason is Reason.AMBIGUOUS_ORDER
    empty = judge(candidate(specimen="", birth_date="20001224", sex="M"), order(specimen="", patient=one))
    assert isinstance(empty, Held)
    assert empty.problem.reason is Reason.NO_SPECIMEN


def test_openemr_5274_the_first_of_several_is_taken() -> None:
    """Several orders fit: none is picked for being the first row, the newest or the most alike."""
    said: dict[str, Any] = {"patient": "1001", "patient_name": "TRẦN^THỊ LAN", "birth_date": "19700512", "sex": "F"}
    for orders in permutations([order(), order(number=2, received=1), order(number=3, ward="A3")]):
        answer = judge(candidate(**said), *orders)
        assert isinstance(answer, Held)
        assert answer.problem.reason is Reason.AMBIGUOUS_ORDER


def test_mirth_1441_an_answer_booked_for_another_message() -> None:
    """Whether the EMR has answered yet plays no part: the correction names its own original, under way or not."""
    chain = [prior(fresh("5.10", minute=5)), prior(fresh("7.7", minute=6, place=Place(2, "1002")), name="obs2")]
    corrected = fresh("5.30", Status.CORRECTED, minute=5)
    for some in permutations(chain):
        assert version(corrected, some) == Correction("obs1", ResultLetter.CORRECTED)


def test_mirth_1314_a_flood_of_repeats() -> None:
    """The same result a hundred times over: one goes out."""
    world = World()
    tube = world.draw_blood("A100", LAN)
    world.place_order(tube, "GLU")
    first = world.measure(tube, measured=1)
    for _ in range(100):
        world.hour += 0.01
        assert world.again(first).state is ObservationState.DUPLICATE
    assert len(world.emr) == 1
