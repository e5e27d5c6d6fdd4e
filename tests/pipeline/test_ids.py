"""An id never comes twice: not in two threads, not in a process that was forked while chance was drawn ahead."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

from labgateway.pipeline.ids import new_id


def many(count: int) -> list[str]:
    return [new_id() for _ in range(count)]


def test_every_id_is_new_whatever_thread_asks() -> None:
    with ThreadPoolExecutor(8) as threads:
        found = [one for part in threads.map(many, [3_000] * 8) for one in part]
    assert len(set(found)) == len(found) == 24_000
    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{20}", one) for one in found)


def test_a_forked_process_draws_chance_of_its_own() -> None:
    new_id()  # some is drawn ahead now
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, " ".join(one[10:] for one in many(200)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        theirs = pipe.read().decode().split()
    os.waitpid(child, 0)
    assert len(theirs) == 200
    assert not set(theirs) & {one[10:] for one in many(300)}


def test_ids_sort_by_time() -> None:
    found = many(2_000)
    assert [one[:10] for one in found] == sorted(one[:10] for one in found)
