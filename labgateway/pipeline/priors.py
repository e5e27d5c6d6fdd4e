"""Observations as versions compare them with what comes later."""

from __future__ import annotations

from labgateway.errors import Reason
from labgateway.matching import versions
from labgateway.model import ObservationState, Result
from labgateway.store.observed import Decided, Stored

COUNTING = (ObservationState.RELEASED, ObservationState.WAITING, ObservationState.HELD, ObservationState.REJECTED)


def is_prior(one: Stored) -> bool:
    """Whether an observation has a say in what comes later."""
    has_none = one.problem is not None and one.problem.reason is Reason.NOT_COMPUTED and one.value is None
    return one.state in COUNTING and one.specimen is not None and not has_none


def prior_of(one: Stored) -> versions.Prior:
    """An observation as versions compare it with what comes later."""
    place = None if one.place_patient is None else versions.Place(one.order_id, one.place_patient)
    return _make_prior(one.id, one.instrument, one, one.result, place)


def prior_decided(one: Decided, result: Result) -> versions.Prior:
    """The same, of one that is not written yet."""
    place = None if one.place_patient is None else versions.Place(one.order_id, one.place_patient)
    return _make_prior(one.id, one.instrument, one, result, place)


def _make_prior(
    number: str, instrument: str, one: Stored | Decided, result: Result, place: versions.Place | None
) -> versions.Prior:
    return versions.Prior(
        number,
        versions.Fresh(
            specimen=one.specimen or "",
            code=one.code,
            instrument=instrument,
            value=one.value,
            unit=one.unit,
            flags=result.flags,
            status=result.status,
            received_at=one.received_at,
            place=place,
            measured_text=result.measured_at_text,
            measured_at=result.measured_at,
            run=result.run or "",
        ),
        one.letter,
        one.state,
        bool(one.decided_by),
        one.replaces,
    )
