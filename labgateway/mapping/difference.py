"""What changes for the laboratory between two versions of a mapping file, in words. Pure.

One sentence a change. No sentence means that every result is treated as before: `checked`, comments and the order of
lines are not compared. Each sentence has its Vietnamese in vietnamese.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from labgateway.mapping.beyond import Beyond
from labgateway.mapping.computed import Computed
from labgateway.mapping.holding import Holding
from labgateway.mapping.ranges import Range
from labgateway.mapping.table import Line, Mapping

_NO_RULES = Holding()


def changes(old: Mapping | None, new: Mapping) -> list[str]:
    """Every change, by code, then panels, then orders. old: None when there was no file."""
    if old is None:
        old = Mapping("", "", "", {}, {}, {})
    found = list(_instrument(old, new))
    for code in dict.fromkeys([*old.tests, *old.leave_out, *new.tests, *new.leave_out]):
        found += _code(code, old, new)
    for name in dict.fromkeys([*old.panels, *new.panels]):
        found += _panel(name, old.panels.get(name), new.panels.get(name))
    for name in dict.fromkeys([*old.orders, *new.orders]):
        found += _order(name, old.orders.get(name), new.orders.get(name))
    for emr in dict.fromkeys([*old.ranges, *new.ranges]):
        found += _ranges(emr, old.ranges.get(emr, ()), new.ranges.get(emr, ()))
    found += _control(old, new)
    found += _words(old.beyond, new.beyond)
    for code in dict.fromkeys([*old.computed, *new.computed]):
        found += _computed(code, old.computed.get(code), new.computed.get(code))
    if old.range_flags != new.range_flags:
        found.append(
            f"High and low are told by {_whose(new.range_flags)} instead of {_whose(old.range_flags)}, where there are ranges."
        )
    return found


def same(one: Mapping, other: Mapping) -> bool:
    """Whether two files mean the same in every word, `checked` too, wherever their lines stand."""
    return _bare(one) == _bare(other)


def _bare(mapping: Mapping) -> Mapping:
    tests = {code: tuple(replace(line, number=None) for line in lines) for code, lines in mapping.tests.items()}
    ranges = {emr: tuple(replace(one, number=None) for one in found) for emr, found in mapping.ranges.items()}
    computed = {code: replace(one, line=replace(one.line, number=None)) for code, one in mapping.computed.items()}
    return replace(mapping, version="", tests=tests, ranges=ranges, computed=computed, declared=None)


def _instrument(old: Mapping, new: Mapping) -> Iterator[str]:
    if old.instrument != new.instrument and old.instrument:
        yield f"The file is written for {_or(new.instrument)} instead of {old.instrument}."


def _code(code: str, old: Mapping, new: Mapping) -> Iterator[str]:
    before, after = old.tests.get(code, ()), new.tests.get(code, ())
    stopped, stops = old.leave_out.get(code), new.leave_out.get(code)
    match (bool(before), bool(after)):
        case (True, True):
            yield from _lines(code, before, after)
        case (True, False) if stops is not None:
            yield f"{code} stops here ({stops}) instead of being reported as {_emr(before)}."
        case (True, False):
            yield f"{code} has no line any more: its results wait for a person."
        case (False, True) if stopped is not None:
            yield f"{code} was left out ({stopped}) and is reported as {_emr(after)}."
        case (False, True):
            yield f"{code} is new and is reported as {_emr(after)}{_how(after)}."
        case _ if stopped is None:
            yield f"{code} is new and stops here: {stops}."
        case _ if stops is None:
            yield f"{code} is no longer left out: its results wait for a person."
        case _ if stops != stopped:
            yield f"{code} stops here for another reason: {stops}."
        case _:
            return


def _lines(code: str, before: tuple[Line, ...], after: tuple[Line, ...]) -> Iterator[str]:
    """Changes of one code, specimen type by specimen type."""
    old = {line.specimen: line for line in before}
    new = {line.specimen: line for line in after}
    for specimen in dict.fromkeys([*old, *new]):
        name = code if specimen is None else f"{code} on {specimen}"
        was, now = old.get(specimen), new.get(specimen)
        if was is None and now is not None:
            yield f"{name} is new and is reported as {_emr((now,))}{_how((now,))}."
        elif now is None and was is not None:
            yield f"{name} has no line of its own any more; it was reported as {_emr((was,))}."
        elif was is not None and now is not None:
            yield from _line(name, was, now)
    if list(old) != list(new) and set(old) == set(new):
        yield f"{code}: its specimen types are looked at in another order."


def _line(name: str, was: Line, now: Line) -> Iterator[str]:
    if was.emr != now.emr:
        yield f"{name} is reported as {_emr((now,))} instead of {_emr((was,))}."
    if was.times != now.times:
        yield f"{name} is multiplied by {now.times:f} instead of {was.times:f}: every number changes."
    if was.unit != now.unit:
        yield f"{name} goes out in {_unit(now.unit)} instead of {_unit(was.unit)}."
    if was.comes != now.comes:
        yield f"{name} must come in {_declared(now.comes)} instead of {_declared(was.comes)}."
    if was.decimals != now.decimals:
        yield f"{name} is shown with decimals: {_decimals(now.decimals)} instead of {_decimals(was.decimals)}."
    if was.sane != now.sane:
        yield f"{name} is held outside {_limits(now.sane)} instead of {_limits(was.sane)}."
    if was.rerun != now.rerun:
        yield f"{name}: of a rerun with another value {_rerun(now)} instead of {_rerun(was)}."
    if was.decimal_comma != now.decimal_comma:
        yield f"{name} is read with a decimal {_comma(now)} instead of a decimal {_comma(was)}."
    yield from _held(name, was.holding or _NO_RULES, now.holding or _NO_RULES)
    for key, one, other in (
        ("name", was.name, now.name),
        ("loinc", was.loinc, now.loinc),
        ("moh", was.moh, now.moh),
    ):
        if one != other:
            yield f"{name} carries `{key}` {_or(other)} instead of {_or(one)}."


def _held(name: str, was: Holding, now: Holding) -> Iterator[str]:
    """Changes of the rules that let a person look first."""
    if was.flags != now.flags:
        yield f"{name} is held when the analyzer marks it {_flags(now.flags)} instead of {_flags(was.flags)}."
    if was.limits != now.limits:
        yield f"{name} goes out by itself within {_limits(now.limits)} instead of {_limits(was.limits)}."
    if was.delta != now.delta:
        yield f"{name}: a difference from the patient's other value holds it: {_delta(now)} instead of {_delta(was)}."
    if was.critical != now.critical:
        yield f"{name} is critical when it is {_critical(now)} instead of {_critical(was)}."


def _ranges(emr: str, was: tuple[Range, ...], now: tuple[Range, ...]) -> Iterator[str]:
    old, new = [one.words for one in was], [one.words for one in now]
    if not old and new:
        yield f"{emr} goes out with the laboratory's ranges instead of the analyzer's: {', '.join(new)}."
        return
    if old and not new:
        yield f"{emr} goes out with the analyzer's range again."
        return
    for words in old:
        if words not in new:
            yield f"{emr} has no longer the range: {words}."
    for words in new:
        if words not in old:
            yield f"{emr} has a new range: {words}."


def _computed(code: str, was: Computed | None, now: Computed | None) -> Iterator[str]:
    if was is None and now is not None:
        yield f"{code} is computed from now on: {now.line.emr[0]} = {now.text}, in {now.line.unit}."
    elif now is None and was is not None:
        yield f"{code} is no longer computed; it was {was.line.emr[0]} = {was.text}."
    elif was is not None and now is not None:
        if was.text != now.text:
            yield f"{code} is computed as {now.text} instead of {was.text}."
        if dict(was.units) != dict(now.units):
            yield f"{code} takes other units of what other analyzers measure: {_units(now)} instead of {_units(was)}."
        yield from _line(code, was.line, now.line)


def _control(old: Mapping, new: Mapping) -> Iterator[str]:
    """Which specimen ids are never a patient's."""
    was, now = ({one.pattern.pattern: (one.lot, one.level) for one in each.control} for each in (old, new))
    for ids in dict.fromkeys([*was, *now]):
        if ids in now and was.get(ids) != now[ids]:
            lot, level = now[ids]
            yield f"Specimens {ids} are control material: lot {_or(lot)}, level {_or(level)}."
        elif ids not in now:
            yield f"Specimens {ids} are no longer control material."


def _words(was: Beyond, now: Beyond) -> Iterator[str]:
    """What counts as known of this analyzer besides its driver."""
    for code in dict.fromkeys([*was.codes, *now.codes]):
        if was.codes.get(code) != now.codes.get(code):
            yield f"{code} may come in {_may_come(now, code)} besides what the driver says, instead of {_may_come(was, code)}."
    flags = [(word, was.flags.get(word), now.flags.get(word)) for word in dict.fromkeys([*was.flags, *now.flags])]
    for word, one, other in flags:
        if one != other:
            yield f"The flag {word} is known as {other or 'nothing'} instead of {one or 'nothing'}."
    for word in dict.fromkeys([*was.statuses, *now.statuses]):
        before, after = was.statuses.get(word), now.statuses.get(word)
        if before != after:
            yield f"The status {word} means {after or 'nothing'} instead of {before or 'nothing'}."


def _may_come(words: Beyond, code: str) -> str:
    if code not in words.codes:
        return "nothing"
    return ", ".join(unit or "no unit" for unit in words.codes[code])


def _units(one: Computed) -> str:
    return ", ".join(f"{name} {unit}" for name, unit in one.units.items()) or "none"


def _panel(name: str, was: tuple[str, ...] | None, now: tuple[str, ...] | None) -> Iterator[str]:
    if was is None:
        yield f"Panel {name} is new: {', '.join(now or ())}."
    elif now is None:
        yield f"Panel {name} is no longer known: its tests answer no order of it."
    elif was != now:
        gone, come = [one for one in was if one not in now], [one for one in now if one not in was]
        if gone:
            yield f"Panel {name} is no longer answered by {', '.join(gone)}."
        if come:
            yield f"Panel {name} is answered by {', '.join(come)} as well."
        if not gone and not come:
            yield f"Panel {name} names its tests in another order."


def _order(name: str, was: tuple[str, ...] | None, now: tuple[str, ...] | None) -> Iterator[str]:
    if was != now:
        yield f"For an order of {name} the analyzer is asked for: {_asked(now)} instead of {_asked(was)}."


def _emr(lines: tuple[Line, ...]) -> str:
    return ", ".join(dict.fromkeys(emr for line in lines for emr in line.emr))


def _how(lines: tuple[Line, ...]) -> str:
    """How a new line treats its values, where it says so."""
    line = lines[0]
    if len(lines) > 1 or line.unit is None:
        return ""
    return f", times {line.times:f} in {line.unit}"


def _or(text: str) -> str:
    return text or "-"


def _unit(unit: str | None) -> str:
    return "the unit that comes" if unit is None else unit


def _declared(unit: str | None) -> str:
    return "the driver's unit" if unit is None else unit


def _decimals(decimals: int | None) -> str:
    return "as many as come" if decimals is None else str(decimals)


def _limits(sane: tuple[Decimal, Decimal] | None) -> str:
    return "no limits" if sane is None else f"[{sane[0]:f}, {sane[1]:f}]"


def _flags(flags: tuple[str, ...]) -> str:
    return ", ".join(flags) if flags else "with nothing"


def _delta(rules: Holding) -> str:
    return "no difference" if rules.delta is None else rules.delta.words


def _critical(rules: Holding) -> str:
    if rules.critical is None:
        return "never"
    return f"{rules.critical.words} (then: {rules.critical.then})"


def _whose(by_range: bool) -> str:
    return "the laboratory's ranges" if by_range else "the analyzer"


def _rerun(line: Line) -> str:
    return "the newest stands" if line.rerun == "last" else "a person decides"


def _comma(line: Line) -> str:
    return "comma" if line.decimal_comma else "point"


def _asked(codes: tuple[str, ...] | None) -> str:
    if codes is None:
        return "what the lines say"
    return ", ".join(codes) if codes else "nothing"
