"""A laboratory in miniature: tubes, orders, results and an EMR, with the thinnest pipeline that can use matching.

Tubes are the truth: every result comes from one, and knows which. The pipeline does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from labgateway.errors import Problem
from labgateway.matching.attribute import (
    CURED_BY_ORDERS,
    Attached,
    Attribution,
    Candidate,
    Held,
    LeftOut,
    Policy,
    Unordered,
    Waits,
    attribute,
    still_stands,
)
from labgateway.matching.versions import Correction, Duplicate, First, Fresh, Hold, Place, Prior, place_of, version
from labgateway.model import Kind, ObservationState, Order, OrderState, Patient, Result, ResultLetter, Status
from tests.matching.people import PANELS, at

JUDGED_AGAIN = (ObservationState.WAITING, ObservationState.HELD, ObservationState.LEFT_OUT)


@dataclass(frozen=True)
class Tube:
    """Blood of one patient, drawn at an hour, with a label that may be on another tube at another time."""

    number: int
    specimen: str
    patient: Patient
    drawn: float


@dataclass
class Observation:
    """One result on its way, and where it stands."""

    id: str
    tube: Tube
    candidate: Candidate
    measured_text: str
    state: ObservationState = ObservationState.WAITING
    letter: ResultLetter = ResultLetter.FINAL
    attribution: Attribution = field(default_factory=Waits)
    problem: Problem | None = None
    place: Place | None = None
    is_alarmed: bool = False

    def fresh(self, place: Place | None) -> Fresh:
        """As versions are told apart."""
        result = self.candidate.result
        return Fresh(
            specimen=result.specimen or "",
            code=self.candidate.targets[0],
            instrument=self.candidate.instrument,
            value=result.value,
            unit="",
            flags=result.flags,
            status=result.status,
            received_at=self.candidate.received_at,
            place=place,
            measured_text=self.measured_text,
        )


@dataclass(frozen=True)
class Sent:
    """What the EMR was told: by which observation, behind which, of which tube, for which patient and order."""

    id: str
    place: Place
    code: str
    letter: ResultLetter
    value: str | None
    behind: str | None
    tube: Tube
    tube_of_order: Tube | None
    patient: Patient | None
    received_at: datetime


@dataclass
class World:
    """Store, pipeline and EMR."""

    policy: Policy = field(default_factory=Policy)
    rerun: Literal["hold", "last"] = "hold"
    hour: float = 0
    tubes: list[Tube] = field(default_factory=list[Tube])
    orders: dict[int, Order] = field(default_factory=dict[int, Order])
    tube_of: dict[int, Tube] = field(default_factory=dict[int, Tube])
    observations: list[Observation] = field(default_factory=list[Observation])
    emr: list[Sent] = field(default_factory=list[Sent])

    def draw_blood(self, specimen: str, patient: Patient) -> Tube:
        """A new tube, now."""
        self.tubes.append(Tube(len(self.tubes) + 1, specimen, patient, self.hour))
        return self.tubes[-1]

    def place_order(self, tube: Tube, code: str, *, with_collection: bool = True, placer: str | None = None) -> Order:
        """The EMR orders a test on a tube, perhaps long after it was drawn."""
        number = len(self.orders) + 1
        self.orders[number] = Order(
            source="emr",
            specimen=tube.specimen,
            placer=f"P{number}" if placer is None else placer,
            code=code,
            patient=tube.patient,
            collected_at=at(tube.drawn) if with_collection else None,
            received_at=at(self.hour),
            id=number,
        )
        self.tube_of[number] = tube
        self.orders_changed(tube.specimen)
        return self.orders[number]

    def change(self, number: int, change: Callable[[Order], Order]) -> None:
        """The EMR changes an order."""
        self.orders[number] = change(self.orders[number])
        self.orders_changed(self.orders[number].specimen)

    def cancel(self, number: int) -> None:
        """The EMR cancels an order."""
        self.change(number, lambda order: replace(order, state=OrderState.CANCELLED))

    def move(self, number: int, patient: Patient) -> None:
        """The EMR gives an order to another patient."""
        self.change(number, lambda order: replace(order, patient=patient, patient_changed_at=at(self.hour)))

    def measure(
        self,
        tube: Tube,
        code: str = "GLU",
        value: str | None = "5.1",
        status: Status = Status.FINAL,
        *,
        says_patient: bool = False,
        instrument: str = "c311",
        measured: float | None = None,
        targets: tuple[str, ...] = (),
        specimen: str | None = None,
    ) -> Observation:
        """An instrument measures a tube and sends; specimen: what it read, when that is not the label."""
        result = Result(
            kind=Kind.PATIENT,
            specimen=tube.specimen if specimen is None else specimen,
            code=f"{code}-C",
            value=value,
            status=status,
            patient=tube.patient.id if says_patient else None,
        )
        text = "" if measured is None else f"{at(measured):%Y%m%d%H%M%S}"
        return self.receive(tube, Candidate(result, targets or (code,), at(self.hour), instrument), text)

    def receive(self, tube: Tube, candidate: Candidate, measured_text: str) -> Observation:
        """A result arrives, the first time or again."""
        observation = Observation(f"obs{len(self.observations) + 1}", tube, candidate, measured_text)
        self.observations.append(observation)
        self.judge(observation)
        return observation

    def again(self, observation: Observation) -> Observation:
        """The instrument sends the same once more, now."""
        later = replace(observation.candidate, received_at=at(self.hour))
        return self.receive(observation.tube, later, observation.measured_text)

    def pass_hours(self, hours: float) -> None:
        """Time goes by; what has waited too long is seen."""
        self.hour += hours
        for observation in self.observations:
            if observation.state is ObservationState.WAITING:
                self.judge(observation)

    def orders_changed(self, specimen: str) -> None:
        """Judge again, in the order of receipt, what an order may cure; watch what is out."""
        for observation in self.observations:
            if observation.candidate.result.specimen != specimen:
                continue
            attribution = observation.attribution
            if observation.state is ObservationState.RELEASED:
                if isinstance(attribution, Attached) and still_stands(attribution, self.ask(observation)):
                    observation.is_alarmed = True
            elif observation.state in JUDGED_AGAIN and self.may_be_cured(attribution):
                self.judge(observation)

    def may_be_cured(self, attribution: Attribution) -> bool:
        """Is it worth asking again after the orders changed?"""
        if isinstance(attribution, Held):
            return attribution.problem.reason in CURED_BY_ORDERS
        return isinstance(attribution, Waits | LeftOut)

    def ask(self, observation: Observation) -> Attribution:
        """What matching says now."""
        return attribute(observation.candidate, self.orders.values(), PANELS, self.policy, at(self.hour))

    def judge(self, observation: Observation) -> None:
        """Whose is it, which version is it, and does it go out?"""
        observation.attribution = answer = self.ask(observation)
        observation.place = place = place_of(answer, observation.candidate)
        fresh = observation.fresh(place)
        priors = [Prior(o.id, o.fresh(o.place), o.letter, o.state) for o in self.observations if o is not observation]
        which = version(fresh, priors, self.rerun, window_h=self.policy.window_h)
        observation.problem = answer.problem if isinstance(answer, Held) else None
        match which:
            case Duplicate():
                observation.state = ObservationState.DUPLICATE
            case _ if isinstance(answer, Held):
                observation.state = ObservationState.HELD
            case _ if isinstance(answer, Waits):
                observation.state = ObservationState.WAITING
            case _ if isinstance(answer, LeftOut):
                observation.state = ObservationState.LEFT_OUT
            case Hold(problem):
                observation.state, observation.problem = ObservationState.HELD, problem
            case First(letter) | Correction(letter=letter):
                self.release(observation, answer, letter, which.of if isinstance(which, Correction) else None)

    def release(self, observation: Observation, answer: Attribution, letter: ResultLetter, behind: str | None) -> None:
        """It goes to the EMR."""
        assert isinstance(answer, Attached | Unordered)
        assert observation.place is not None
        observation.state, observation.letter = ObservationState.RELEASED, letter
        order = answer.order if isinstance(answer, Attached) else None
        self.emr.append(
            Sent(
                observation.id,
                observation.place,
                answer.target,
                letter,
                observation.candidate.result.value,
                behind,
                observation.tube,
                None if order is None else self.tube_of[order.id],
                answer.patient if isinstance(answer, Attached) else None,
                observation.candidate.received_at,
            )
        )
