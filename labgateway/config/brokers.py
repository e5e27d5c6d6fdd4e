"""What a destination on a message broker may say: topics that fit its broker, and who settles."""

from __future__ import annotations

import re
from collections.abc import Iterator

from labgateway.config.columns import Mistake
from labgateway.config.destinations import DestinationSection, MqttDestination, NatsDestination

_PLACE = re.compile(r"\{[^}]*\}?")
_TOPIC = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def mistakes(section: DestinationSection) -> Iterator[Mistake]:
    """What is wrong with a destination on a broker; nothing for others."""
    match section:
        case MqttDestination():
            yield from _pattern("topic", section.topic, _TOPIC, ("{site}", "{instrument}"))
            yield from _pattern("answers", section.answers, _TOPIC, ("{site}",))
            yield from _pattern("status_topic", section.status_topic, _TOPIC, ("{site}",))
            if section.settle == "answer" and not section.answers:
                cure = (
                    'Write the topic on which the EMR answers, such as "lab/{site}/answers"; or settle = "puback", if what '
                    "the broker loses may be lost."
                )
                yield ("answers",), "is missing, and only an answer settles.", cure
            if section.settle == "puback" and section.qos == 2:
                cure = 'Write qos = 1, or settle = "answer".'
                yield ("qos",), "hides why a broker refuses, so its word cannot settle.", cure
            if section.tls is not None and section.tls.name is not None:
                cure = "Take it out, or write that name as host."
                yield ("tls", "name"), "cannot be chosen for MQTT: the certificate must bear the host.", cure
        case NatsDestination():
            yield from _pattern("subject", section.subject, _SUBJECT, ("{site}", "{instrument}"))
            yield from _pattern("status_subject", section.status_subject, _SUBJECT, ("{site}",))
            ways = [key for key in ("credentials_file", "token_file", "user") if getattr(section, key)]
            if len(ways) > 1:
                yield (ways[1],), f"stands beside {ways[0]}.", "Keep one way to log in."
        case _:
            return


def _pattern(key: str, value: str, form: re.Pattern[str], places: tuple[str, ...]) -> Iterator[Mistake]:
    if not value:
        return
    for place in _PLACE.findall(value):
        if place not in places:
            yield (key,), f"holds {place}, which is no place that is filled in.", f"Known here: {', '.join(places)}."
            return
    if not form.fullmatch(_PLACE.sub("x", value)):
        yield (
            (key,),
            "is no good name on a broker.",
            "Use letters, digits, _ and - between the separators, no wildcards.",
        )
