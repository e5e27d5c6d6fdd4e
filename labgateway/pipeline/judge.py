"""Verdicts within one transaction, from what the store knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from labgateway.errors import Problem, Reason
from labgateway.matching import versions
from labgateway.matching.policy import Policy
from labgateway.matching.weighing import Weighed, weigh
from labgateway.model import ObservationState, Order, Result
from labgateway.pipeline.decide import Case, Verdict, code_of, decide
from labgateway.pipeline.neighbours import Asked, neighbours
from labgateway.pipeline.priors import COUNTING, is_prior, prior_decided, prior_of
from labgateway.pipeline.review import Neighbours
from labgateway.pipeline.rules import InstrumentRules, Rules
from labgateway.store import orders, results
from labgateway.store.observed import Decided, Earlier


class Judge:
    """Verdicts within one transaction: orders and earlier observations are read once a specimen."""

    def __init__(self, connection: Connection, rules: Rules, now: datetime) -> None:
        self._connection = connection
        self._rules = rules
        self._now = now
        self._orders: dict[str, Weighed] = {}
        self._priors: dict[str, dict[str, list[versions.Prior]]] = {}
        self._kin: dict[str, orders.Kin] = {}
        self._others: dict[str, list[str]] = {}
        self._released: list[Earlier] = []
        self._compares = False

    def verdict(
        self,
        result: Result,
        instrument_name: str,
        instrument: InstrumentRules,
        received_at: datetime,
        *,
        leave: str | None = None,
        contradicted: bool = False,
    ) -> Verdict:
        """Decide one result. leave: an observation that is being decided again and is not its own prior.

        contradicted: its own message says another value of the same test (twins.py).
        """
        specimen = result.specimen or ""
        if specimen:
            self._load(specimen, received_at, leave)
        priors = self._priors.get(specimen, {})
        if leave:
            for of_test in priors.values():
                of_test[:] = [prior for prior in of_test if prior.id != leave]
        policy = instrument.policy or self._rules.policy
        mapping = instrument.mapping
        compares = not isinstance(mapping, Problem) and mapping.compares
        self._compares = self._compares or compares
        verdict = decide(
            Case(
                result=result,
                instrument=instrument_name,
                mapping=mapping,
                orders=self._weighed(specimen, received_at, policy) if specimen else (),
                priors=priors,
                policy=policy,
                received_at=received_at,
                now=self._now,
                manual=instrument.manual,
                neighbours=partial(self._neighbours, specimen, received_at, leave or "") if compares else None,
                timezone=self._rules.timezone,
                flag_words=instrument.flag_words,
                contradicted=contradicted,
            )
        )
        if verdict.state is ObservationState.RELEASED and verdict.order is not None and self._tubes(specimen):
            return self._unless_told_by_another_tube(verdict, verdict.order, specimen, received_at)
        return verdict

    def _load(self, specimen: str, received_at: datetime, leave: str | None) -> None:
        """Orders and earlier observations of a specimen id, once."""
        if specimen in self._orders:
            return
        policy = self._rules.policy
        near = self._kin[specimen] = orders.kin(self._connection, specimen)
        mine = orders.for_specimen(self._connection, specimen, near)
        self._orders[specimen] = weigh(mine, specimen, received_at, policy)
        since = received_at - timedelta(hours=policy.window_h + policy.wait_h + 24)
        known: dict[str, list[versions.Prior]] = {}
        for one in results.of_specimen(self._connection, specimen, since):
            if is_prior(one) and one.id != leave:
                known.setdefault(one.code, []).append(prior_of(one))
        self._priors[specimen] = known

    def _weighed(self, specimen: str, received_at: datetime, policy: Policy) -> Weighed:
        """The orders of a specimen id as a result of that moment sees them."""
        found = self._orders[specimen]
        if not found.fits(specimen, received_at, policy):
            found = self._orders[specimen] = weigh(found, specimen, received_at, policy)
        return found

    def _tubes(self, specimen: str) -> list[str]:
        """The other tubes that answer the same orders, as the EMR says which was taken from which, and what moved."""
        if specimen not in self._others:
            self._others[specimen] = orders.siblings(self._connection, specimen, self._kin.get(specimen))
        return self._others[specimen]

    def _unless_told_by_another_tube(
        self, verdict: Verdict, order: Order, specimen: str, received_at: datetime
    ) -> Verdict:
        """Versions follow each other on one tube; between two tubes of one order a person decides."""
        code = verdict.target.emr if verdict.target else ""
        for tube in self._tubes(specimen):
            self._load(tube, received_at, None)
            mine = {order.id, *(one.id for one in self._orders[tube] if orders.is_same(one, order))}
            told = [
                prior
                for prior in self._priors[tube].get(code, ())
                if prior.fresh.place is not None
                and prior.fresh.place.order in mine
                and prior.state is not ObservationState.REJECTED
            ]
            if told and told[-1].letter not in versions.RETRACTED:
                return replace(verdict, state=ObservationState.HELD, problem=Problem(Reason.OTHER_TUBE), replaces=None)
        return verdict

    def _neighbours(
        self, specimen: str, received_at: datetime, number: str, code: str, beside: Order, order: Order | None
    ) -> Neighbours:
        """Where the patient's other values are found, when a rule asks for them."""
        asked = Asked(code, specimen, beside, None if order is None else order.id, received_at, number)
        fresh = [one for one in self._released if one.code == code]
        return lambda days: neighbours(self._connection, asked, days, fresh)

    def decided(
        self,
        verdict: Verdict,
        result: Result,
        result_id: int,
        transmission_id: int,
        instrument: str,
        received_at: datetime,
        mapping_version: str | None,
        number: str,
    ) -> Decided:
        """The row for a verdict; it counts as a prior for what follows in this transaction."""
        target = verdict.target
        decided = Decided(
            id=number,
            result_id=result_id,
            transmission_id=transmission_id,
            instrument=instrument,
            specimen=result.specimen,
            order_id=verdict.order.id if verdict.order else None,
            beside_id=verdict.beside.id if verdict.beside else None,
            place_patient=verdict.place.patient if verdict.place else None,
            code=code_of(verdict, result),
            name=target.name if target else "",
            loinc=target.loinc if target else "",
            moh=target.moh if target else "",
            value=verdict.value,
            unit=verdict.unit,
            original_value=verdict.original_value,
            original_unit=verdict.original_unit,
            letter=verdict.letter,
            state=verdict.state,
            problem=verdict.problem,
            mapping_version=mapping_version,
            replaces=verdict.replaces,
            duplicate_of=verdict.duplicate_of,
            received_at=received_at,
            decided_at=self._now,
            added=verdict.added,
        )
        if self._compares and verdict.state is ObservationState.RELEASED and verdict.beside is not None:
            self._released.append(
                Earlier(
                    decided.id, result.specimen or "", decided.order_id, verdict.beside.id, decided.code, decided.value,
                    decided.unit, decided.letter, decided.replaces, received_at,
                )
            )  # fmt: skip
        if result.specimen and verdict.state in COUNTING:
            of_specimen = self._priors.setdefault(result.specimen, {})
            of_specimen.setdefault(decided.code, []).append(prior_decided(decided, result))
        return decided
