"""What is wrong with one line: a table of rules, the cause that explains most first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from labgateway.doctor.facts import Facts
from labgateway.doctor.findings import Finding, Severity
from labgateway.doctor.line_words import WORDS
from labgateway.errors import Reason

BAD, DOUBT, GOOD = Severity.BAD, Severity.DOUBT, Severity.GOOD

_GARBAGE = 0.15
"""So much of what came is in no text: the wrong speed makes more, a foreign alphabet less."""
_CLOCK_S = 300
_MANY = 3
_NAMES = {
    "astm": "ASTM",
    "hl7": "HL7",
    "tls": "TLS",
    "web": "HTTP",
    "raw": "a text between STX and ETX",
    "text": "plain text",
}

Rule = Callable[[Facts], "Finding | None"]


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Findings, the most likely cause first; one good one when nothing is wrong."""
    found = [finding for rule in _RULES if (finding := rule(facts)) is not None]
    blocked = [one for one in found if one.name in _EXPLAINS_ALL]
    if blocked:
        later = [one for one in found if one.severity is BAD and one.name in _WITH_ANY and one not in blocked]
        return (blocked[0], *later)
    return tuple(found) or tuple(_well(facts))


def _finding(name: str, severity: Severity, facts: Facts, **more: object) -> Finding:
    seen = facts.observed
    known = {
        "name": facts.instrument, "driver": facts.driver, "protocol": _NAMES.get(facts.protocol, facts.protocol),
        "host": facts.host, "port": facts.port, "device": facts.device, "allow": ", ".join(facts.allow) or "-",
        "seconds": round(facts.watched_s), "trouble": facts.trouble, "refused": facts.turned_away,
        "last": facts.last_refused, "setting": facts.setting, "best": facts.best, "bytes": seen.bytes_from,
        "frames": seen.frames, "bad": seen.bad_checksums, "naks": seen.naks, "sender": ", ".join(seen.senders) or "-",
        "seems": _NAMES.get(seen.seems, seen.seems), "percent": round(100 * seen.garbage), "messages": seen.messages,
        "results": seen.results, "empty": seen.no_specimen, "contentions": seen.contentions, "repeats": seen.repeats,
        "marked": seen.marked, "encoding": facts.encoding or "UTF-8", "parks": facts.parks, "enquiries": seen.enquiries,
        **more,
    }  # fmt: skip
    return Finding(name, severity, WORDS[name], known)


def _port_shut(f: Facts) -> Finding | None:
    shut = f.kind == "tcp-listen" and f.trouble and "waiting for" not in f.trouble and not f.connected
    return _finding("port_shut", BAD, f) if shut else None


def _store(f: Facts) -> Finding | None:
    return _finding("store_broken", BAD, f) if "store cannot be trusted" in f.trouble else None


def _refused(f: Facts) -> Finding | None:
    if f.kind != "tcp-listen" or not f.turned_away:
        return None
    if f.last_refused.startswith("line.stranger"):
        return _finding("strangers", BAD if not f.called and not f.connected else DOUBT, f)
    if f.last_refused.startswith("line.occupied"):
        return _finding("occupied", DOUBT, f)
    return _finding("turned_away", DOUBT, f)


def _both_listen(f: Facts) -> Finding | None:
    waits = f.kind == "tcp-listen" and f.listens and not f.connected and not f.called
    return _finding("both_listen", BAD, f) if waits else None


def _nobody_calls(f: Facts) -> Finding | None:
    waits = f.kind == "tcp-listen" and not f.connected and not f.called and not f.turned_away and not f.listens
    return _finding("nobody_calls", BAD, f) if waits else None


def _cannot_connect(f: Facts) -> Finding | None:
    if f.kind != "tcp" or f.connected or f.called:
        return None
    if f.calls:
        return _finding("both_call", BAD, f)
    if "nothing listens" in f.trouble:
        return _finding("nobody_listens", BAD, f)
    if "cannot be resolved" in f.trouble:
        return _finding("no_such_name", BAD, f)
    return _finding("cannot_connect", BAD, f)


def _serial_shut(f: Facts) -> Finding | None:
    shut = f.kind == "serial" and f.trouble and not f.connected and f.trouble != "opening"
    return _finding("serial_shut", BAD, f) if shut else None


def _folder(f: Facts) -> Finding | None:
    return _finding("folder_trouble", BAD, f) if f.kind == "folder" and f.trouble else None


def _wrong_speed(f: Facts) -> Finding | None:
    noisy = f.observed.bytes_from >= 4 and f.observed.garbage >= _GARBAGE and not _understood(f)
    if not noisy and not (f.kind == "serial" and f.best and f.observed.seems in ("", "text") and f.observed.bytes_from):
        return None
    if f.kind == "serial" and f.best and f.best_fits:
        return _finding("speed_found", BAD, f)
    return _finding("wrong_speed" if f.kind == "serial" else "garbage", BAD, f)


def _silent(f: Facts) -> Finding | None:
    if f.observed.bytes_from or f.kind == "folder":
        return None
    if f.kind == "serial" and not f.trouble:
        return _finding("serial_silent", BAD if not f.last_message_h else DOUBT, f)
    if f.connected or f.called:
        return _finding("connected_silent", BAD if f.last_message_h is None else DOUBT, f)
    return None


def _stranger_talk(f: Facts) -> Finding | None:
    return _finding("not_an_instrument", BAD, f) if f.observed.seems in ("tls", "web") else None


def _wrong_protocol(f: Facts) -> Finding | None:
    seems = f.observed.seems
    expected = f.protocol if f.protocol in ("astm", "hl7") else "raw"
    other = seems in ("astm", "hl7", "raw") and seems != expected
    if other and expected == "raw" and (f.observed.frames or seems == "astm"):
        other = seems == "hl7" or bool(f.observed.senders)
    return _finding("wrong_protocol", BAD, f) if other else None


def _checksums(f: Facts) -> Finding | None:
    seen = f.observed
    if seen.seems == "hl7" or not f.checks or not seen.frames:
        return None
    if seen.no_checksums == seen.frames and f.protocol == "astm":
        return _finding("no_checksums", BAD, f)
    if seen.bad_checksums >= 2 and seen.bad_checksums >= 0.9 * (
        seen.frames if f.protocol == "astm" else seen.bad_checksums
    ):
        return _finding("bad_checksums", BAD, f)
    if seen.bad_checksums >= 2 and seen.bad_checksums >= 0.05 * seen.frames:
        return _finding("some_bad_checksums", DOUBT, f)
    return None


def _nak_loop(f: Facts) -> Finding | None:
    seen = f.observed
    loop = f.served and seen.naks >= 5 and seen.naks > seen.acks and not _checksums(f)
    return _finding("nak_loop" if seen.frames else "nak_to_enq", BAD, f) if loop else None


def _contention(f: Facts) -> Finding | None:
    return _finding("contention", BAD, f) if f.observed.contentions >= _MANY else None


def _unanswered(f: Facts) -> Finding | None:
    seen = f.observed
    lost = f.served and seen.enquiries >= _MANY and not seen.frames and not seen.naks and seen.bytes_to > 0
    return _finding("enq_only", BAD, f) if lost and not seen.contentions else None


def _repeats(f: Facts) -> Finding | None:
    seen = f.observed
    again = f.served and seen.repeats >= _MANY and not seen.bad_checksums and not seen.naks
    return _finding("ack_not_taken", BAD, f) if again else None


def _parks(f: Facts) -> Finding | None:
    return _finding("all_parks", BAD, f) if f.parks else None


def _sender(f: Facts) -> Finding | None:
    seen = f.observed
    if not seen.senders or seen.sender_fits or _wrong_protocol(f):
        return None
    others = [name for name in seen.known_by if name != f.driver]
    if others:
        return _finding("another_driver", BAD, f, others=", ".join(others))
    return _finding("sender_unknown", DOUBT, f)


def _no_specimen(f: Facts) -> Finding | None:
    seen = f.observed
    empty = seen.results and seen.no_specimen == seen.results
    return _finding("no_specimen", BAD, f) if empty else None


def _encoding(f: Facts) -> Finding | None:
    return _finding("encoding", DOUBT, f) if f.observed.marked else None


def _clock(f: Facts) -> Finding | None:
    off = f.observed.clock_s
    if off is None or abs(off) < _CLOCK_S:
        return None
    minutes = round(abs(off) / 60)
    size = (
        f"{minutes} min"
        if minutes < 180
        else f"{round(minutes / 60)} h"
        if minutes < 72 * 60
        else f"{minutes // 1440} d"
    )
    return _finding("clock", DOUBT, f, off=("+" if off > 0 else "-") + size)


def _parked(f: Facts) -> Finding | None:
    total = sum(f.parked.values())
    if total < _MANY:
        return None
    name, count = max(f.parked.items(), key=lambda each: each[1])
    if count < 0.8 * total or total < 0.8 * max(f.stored, 1):
        return None
    reason = Reason[name] if name in Reason.__members__ else Reason.DEFECT
    return _finding("one_reason", BAD, f, count=count, total=f.stored, reason=reason.what, cure=reason.cure)


def _understood(f: Facts) -> bool:
    seen = f.observed
    return bool(seen.messages or (seen.frames and seen.bad_checksums < seen.frames))


_RULES: tuple[Rule, ...] = (
    _store, _port_shut, _both_listen, _refused, _nobody_calls, _cannot_connect, _serial_shut, _folder, _silent, _stranger_talk,
    _wrong_speed, _wrong_protocol, _checksums, _nak_loop, _contention, _unanswered, _repeats, _parks, _sender, _no_specimen,
    _encoding, _clock, _parked,
)  # fmt: skip
_EXPLAINS_ALL = frozenset({
    "store_broken", "port_shut", "both_listen", "nobody_calls", "both_call", "nobody_listens", "no_such_name",
    "cannot_connect", "serial_shut", "not_an_instrument", "wrong_speed", "speed_found", "garbage", "wrong_protocol",
})  # fmt: skip
"""With one of these nothing else can be judged."""
_WITH_ANY = frozenset({"strangers", "all_parks"})


def _well(facts: Facts) -> Iterator[Finding]:
    name = "well" if facts.observed.bytes_from else "nothing_seen"
    yield _finding(name, GOOD, facts)
