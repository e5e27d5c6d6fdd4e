"""driver.toml: what is accepted, what is refused, and how a mistake is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labgateway.errors import Complaint, ComplaintsError
from labgateway.instruments import ack_keys
from labgateway.instruments import driver as drivers
from labgateway.instruments.driver import load
from labgateway.instruments.library import Library
from labgateway.instruments.paths import Place, read_place
from labgateway.instruments.spec import WHERE
from labgateway.model import Status

DESIGN = """
schema   = 1
title    = "Example Haem"
maker    = "Example"
models   = ["Haem-3", "Haem 3+"]
status   = "capture"
protocol = "astm"
quirks   = []
sources  = ["Host Interface Manual, rev 1.0"]

[recognise]
sender = 'Haem-\\d+'

[line]
kinds   = ["tcp", "tcp-listen", "serial"]
serial  = { baud = 19200, bits = 7, parity = "even", stop = 2 }
queries = true
encoding = "tcvn3"

[where]
specimen = ["O-4.3", "O-3"]
code     = "R-3.5"
value    = "R-4"
unit     = "R-5"
flag     = "R-7"
status   = "R-9"
measured_at = "R-13"

[words]
flag      = { N = "normal", H = "high" }
status    = { F = "final", C = "corrected" }
no_result = ["----"]

[control]
when = [{ "O-12" = '^Q$' }, { specimen = '^QC-' }]

[[rows]]
when = { "R-3.7" = '^[IP]$' }
is   = "ignore"

[query]
specimen = ["Q-3.2", "Q-3.1"]

[tests]
WBC = "10*3/uL"
HGB = ["g/dL", "g/L"]
pH  = ""
"""


def write(folder: Path, text: str, name: str = "example_haem") -> Path:
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "driver.toml").write_text(text, encoding="utf-8")
    return place


def complaints(folder: Path, text: str) -> list[Complaint]:
    with pytest.raises(ComplaintsError) as caught:
        load(write(folder, text), name="driver.toml")
    return caught.value.complaints


def test_every_key_of_the_contract_is_read(tmp_path: Path) -> None:
    """The design's own example loads, and each key lands where it belongs."""
    driver = load(write(tmp_path, DESIGN))
    assert driver.name == "example_haem"
    assert driver.line.serial.baud == 19200
    assert driver.line.serial.parity == "even"
    assert driver.line.queries
    assert driver.line.encoding == "tcvn3"
    assert driver.where["specimen"] == (Place("O", 4, 3), Place("O", 3))
    assert driver.words.status == {"F": Status.FINAL, "C": Status.CORRECTED}
    assert driver.tests == {"WBC": ("10*3/uL",), "HGB": ("g/dL", "g/L"), "pH": ("",)}
    assert not driver.is_open
    assert [str(p) for p in driver.query.specimen] == ["Q-3.2", "Q-3.1"]
    assert len(driver.control) == 2
    assert driver.rows[0].kind == "ignore"


MINIMAL = """schema = 1
title = "t"
maker = "m"
protocol = "hl7"
sources = ["s"]
codes = "open"
[where]
specimen = "SPM-2.1"
code = "OBX-3.1.2"
value = "OBX-5"
"""


def test_the_required_keys_are_enough(tmp_path: Path) -> None:
    """Everything else has its documented default."""
    driver = load(write(tmp_path, MINIMAL))
    assert driver.is_open
    assert driver.models == ()
    assert driver.status == "simulated"
    assert driver.words.flag is None
    assert driver.words.status is None
    assert driver.line.encoding is None
    assert not driver.line.queries


@pytest.mark.parametrize(
    "key", ["schema", "title", "maker", "protocol", "sources", "specimen", "code", "value", "codes"]
)
def test_each_required_key_is_missed(tmp_path: Path, key: str) -> None:
    """Without it there is exactly one complaint, which names it."""
    text = re.sub(rf"(?m)^{key} = .*\n", "", MINIMAL)
    found = complaints(tmp_path, text)
    assert len(found) == 1
    assert found[0].key.split(".")[-1] == {"codes": "tests"}.get(key, key)
    assert "missing" in found[0].what
    assert found[0].line is not None
    assert found[0].cure


MISTAKES = [
    ("schema   = 1", "schema   = 2", "schema"),
    ('status   = "capture"', 'status   = "proven"', "status"),
    ('protocol = "astm"', 'protocol = "astmm"', "protocol"),
    ("quirks   = []", 'quirks   = ["no_such"]', "quirks"),
    ('maker    = "Example"', 'maker    = "Example"\nmodel = "x"', "model"),
    ("sender = 'Haem-\\d+'", "sender = 'Haem-('", "recognise.sender"),
    ('kinds   = ["tcp", "tcp-listen", "serial"]', 'kinds   = ["usb"]', "line.kinds"),
    ("bits = 7", "bits = 9", "line.serial.bits"),
    ('parity = "even"', 'parity = "maybe"', "line.serial.parity"),
    ('encoding = "tcvn3"', 'encoding = "utf-9"', "line.encoding"),
    ("queries = true", 'queries = "yes"', "line.queries"),
    ('code     = "R-3.5"', 'code     = "R3.5"', "where.code"),
    ('code     = "R-3.5"', 'code     = "R-0"', "where.code"),
    ('code     = "R-3.5"', 'code     = "OBX-3.1"', "where.code"),
    ('code     = "R-3.5"', 'code     = "R-3.5.1"', "where.code"),
    ('code     = "R-3.5"', "code     = 3", "where.code"),
    ('unit     = "R-5"', 'units    = "R-5"', "where.units"),
    ('C = "corrected"', 'C = "korrected"', "words.status.C"),
    ('N = "normal"', 'N = ""', "words.flag.N"),
    ("'^Q$'", "'^Q($'", "control.when.1.O-12"),
    ("specimen = '^QC-'", "lot = '^QC-'", "control.when.2.lot"),
    ('is   = "ignore"', 'is   = "forget"', "rows.1.is"),
    ('is   = "ignore"', "", "rows.1.is"),
    ("\"R-3.7\" = '^[IP]$'", "", "rows.1.when"),
    ('["Q-3.2", "Q-3.1"]', '["Q-3.2", "R-3.1"]', "query.specimen"),
    ('HGB = ["g/dL", "g/L"]', "HGB = 10", "tests.HGB"),
    ("[query]", "[quary]", "quary"),
    ("baud = 19200", "baud = 19200.5", "line.serial.baud"),
    ("baud = 19200", "baud = 123456789", "line.serial.baud"),
    ("baud = 19200", "baud = inf", "line.serial.baud"),
    ("queries = true", "silence_s = nan", "line.silence_s"),
    ('code     = "R-3.5"', "code     = []", "where.code"),
    ('unit     = "R-5"', "unit     = []", "where.unit"),
    ("sender = 'Haem-\\d+'", "sender = ''", "recognise.sender"),
    ("'^Q$'", "''", "control.when.1.O-12"),
    ("when = [{ \"O-12\" = '^Q$' }, { specimen = '^QC-' }]", "when = []", "control.when"),
    ("when = { \"R-3.7\" = '^[IP]$' }", "when = []", "rows.1.when"),
    ("'^[IP]$'", "''", "rows.1.when.R-3.7"),
    ('specimen = ["Q-3.2", "Q-3.1"]', "specimen = []", "query.specimen"),
    ('specimen = ["Q-3.2", "Q-3.1"]', "", "query.specimen"),
]


@pytest.mark.parametrize(("good", "bad", "key"), MISTAKES, ids=[f"{k}-{i}" for i, (_, _, k) in enumerate(MISTAKES)])
def test_a_mistake_is_named_with_its_line(tmp_path: Path, good: str, bad: str, key: str) -> None:
    """One mistake gives one complaint: its key, the line it stands on (or its table), what, and a cure."""
    assert good in DESIGN
    text = DESIGN.replace(good, bad, 1)
    found = complaints(tmp_path, text)
    assert [c.key for c in found] == [key]
    line = found[0].line
    assert line is not None
    last = key.split(".")[-1]
    assert last in text.splitlines()[line - 1] or not bad or "when" in text.splitlines()[line - 1] or "[[" in text
    assert found[0].what
    assert found[0].cure.endswith(".")


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    """Several mistakes give several complaints in the order of their lines."""
    text = DESIGN.replace('"R-3.5"', '"R3.5"').replace('"even"', '"odd?"').replace('is   = "ignore"', 'is = "x"')
    found = complaints(tmp_path, text)
    assert [c.key for c in found] == ["line.serial.parity", "where.code", "rows.1.is"]
    assert [c.line for c in found] == sorted(c.line or 0 for c in found)
    assert str(found[0]).startswith("driver.toml:")


def test_a_loose_key_below_a_table_is_found(tmp_path: Path) -> None:
    """The TOML trap: codes behind [where] belongs to [where], and the complaint says so."""
    text = MINIMAL.replace('codes = "open"\n', "") + 'codes = "open"\n'
    assert {c.key for c in complaints(tmp_path, text)} == {"where.codes", "tests"}


def test_a_library_goes_on_without_its_broken_drivers(tmp_path: Path) -> None:
    """One broken folder is named; the others are there."""
    write(tmp_path, DESIGN)
    write(tmp_path, "schema = 1", "broken_one")
    (tmp_path / "no_driver").mkdir()
    library = Library.of([tmp_path])
    assert set(library.drivers) == {"example_haem"}
    assert set(library.broken) == {"broken_one"}


def test_a_later_folder_replaces_a_driver_of_the_same_name(tmp_path: Path) -> None:
    """A site's own driver wins over the shipped one."""
    write(tmp_path / "a", DESIGN)
    write(tmp_path / "b", DESIGN.replace("Example Haem", "Ours"))
    assert Library.of([tmp_path / "a", tmp_path / "b"]).drivers["example_haem"].title == "Ours"
    assert set(Library.of([tmp_path / "a" / "example_haem"]).drivers) == {"example_haem"}


@pytest.mark.parametrize(
    "name", ["example_haem", "example_haem3", "Example Haem-3", "EXAMPLE_HAEM_3", "example_haem3+"]
)
def test_a_driver_is_found_by_its_models(tmp_path: Path, name: str) -> None:
    """maker_model in lower case, punctuation dropped."""
    write(tmp_path, DESIGN)
    found = Library.of([tmp_path]).find(name)
    assert found is not None
    assert found.name == "example_haem"


def test_an_unknown_model_is_nobodys(tmp_path: Path) -> None:
    """Neither a part of a name nor another maker's will do."""
    write(tmp_path, DESIGN)
    library = Library.of([tmp_path])
    assert library.find("example") is None
    assert library.find("other_haem3") is None


def test_one_model_may_have_two_drivers(tmp_path: Path) -> None:
    """ASTM and HL7 of one model: neither wins silently, both are offered."""
    write(tmp_path, DESIGN)
    write(tmp_path, MINIMAL.replace('"m"', '"Example"').replace("sources", 'models = ["Haem-3"]\nsources'), "haem_hl7")
    library = Library.of([tmp_path])
    assert library.find("example_haem3") is None
    assert {d.name for d in library.find_all("example_haem3")} == {"example_haem", "haem_hl7"}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("R-4", Place("R", 4)),
        ("OBX-3.1.2", Place("OBX", 3, 1, 2)),
        ("SPM-2.1", Place("SPM", 2, 1)),
        ("R-0", None),
        ("R-3.0", None),
        ("r-3", None),
        ("R-", None),
        ("R-3.", None),
        ("R-3.1.2.3", None),
        ("ABCD-1", None),
        ("R 3", None),
    ],
)
def test_the_grammar_of_paths(path: str, place: Place | None) -> None:
    """RECORD-FIELD.COMPONENT.SUBCOMPONENT, counted from 1; a path written again is the same."""
    assert read_place(path) == place
    if place:
        assert str(place) == path


def test_the_reference_names_every_key() -> None:
    """docs/drivers.md explains each key that is read, and each name of [where]."""
    text = (Path(__file__).parents[2] / "docs" / "drivers.md").read_text()
    source = "".join(Path(str(each.__file__)).read_text() for each in (drivers, ack_keys))
    keys = set(
        re.findall(r"(?:top|table)\.(?:text|texts|choice|flag|number|table|tables|take|has)\(\s*\"(\w+)\"", source)
    ) | set(re.findall(r"_(?:pair|or_echo)\(table, \"(\w+)\"", source))
    assert len(keys) > 20
    for key in keys | set(WHERE):
        assert re.search(rf"[`\[ ]{key}[`\]. ]", text), key
