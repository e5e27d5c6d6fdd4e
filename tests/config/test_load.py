"""config.toml: what is good loads with its defaults, what is wrong is said at once, with line and cure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields
from pathlib import Path

import pytest

from labgateway import config as c
from labgateway.config.reading import find, load, parse
from labgateway.errors import Complaint, ComplaintsError

ROOT = Path(__file__).parents[2]
SITE = Path("/site/config.toml")
SMALL = """\
[instrument.xn1]
driver  = "sysmex_xn"
mapping = "xn1.toml"
line    = { kind = "tcp-listen", port = 5101 }
"""
DESIGN = """\
[gateway]
name      = "LABGATEWAY"
facility  = "THIENHANH"
timezone  = "Asia/Ho_Chi_Minh"
data      = "data"
mappings  = "mappings"
drivers   = ["drivers"]
[store]
url = "sqlite:///data/labgateway.db"
[matching]
window_h      = 72
wait_h        = 240
alarm_h       = 24
without_order = "wait"
not_ordered   = "hold"
second_ids    = ["patient", "birth_date", "sex"]
specimen_pattern = ""
[instrument.xn1]
driver  = "sysmex_xn"
mapping = "xn1.toml"
line    = { kind = "tcp-listen", host = "0.0.0.0", port = 5101, allow = ["10.20.0.0/24"], connections = 1 }
[orders.emr]
kind = "mllp-listen"
host = "0.0.0.0"
port = 2575
specimen_id = ["SPM-2.1", "SAC-3.1", "OBR-3.1"]
patient_id  = "PID-3.1"
patient_id_type = "MR"
[destination.emr]
kind = "mllp"
host = "10.20.0.9"
port = 2576
status = "P"
shadow = true
[console]
listen = "127.0.0.1:8080"
"""


def read(text: str) -> c.Config:
    return parse(text.encode(), SITE)


def complaints(text: str) -> list[Complaint]:
    with pytest.raises(ComplaintsError) as caught:
        read(text)
    return caught.value.complaints


def only(text: str) -> Complaint:
    found = complaints(text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def test_design_example() -> None:
    """The example of DESIGN 5.1 loads, and every value arrives."""
    config = read(DESIGN)
    assert (config.gateway.facility, config.gateway.data) == ("THIENHANH", Path("/site/data"))
    assert config.gateway.drivers == (Path("/site/drivers"),)
    assert config.store.url == "sqlite:////site/data/labgateway.db"
    assert config.matching == c.Matching()
    xn1 = config.instruments["xn1"]
    assert (xn1.driver, xn1.mapping, xn1.release) == ("sysmex_xn", Path("/site/mappings/xn1.toml"), "auto")
    assert xn1.line == c.TcpListenLine(host="0.0.0.0", port=5101, allow=("10.20.0.0/24",))
    orders = config.orders["emr"]
    assert isinstance(orders, c.MllpListen)
    assert (orders.host, orders.port, orders.patient_id_type) == ("0.0.0.0", 2575, "MR")
    assert orders.specimen_id == ("SPM-2.1", "SAC-3.1", "OBR-3.1")
    emr = config.destinations["emr"]
    assert isinstance(emr, c.MllpDestination)
    assert (emr.host, emr.port, emr.status, emr.shadow) == ("10.20.0.9", 2576, "P", True)
    assert config.console == c.Console("127.0.0.1:8080")
    assert config.file == SITE


def test_defaults() -> None:
    """An empty file is a gateway without instruments; one instrument needs driver, mapping and line only."""
    empty = read("")
    assert empty.gateway.name == "LABGATEWAY"
    assert empty.gateway.timezone == "Asia/Ho_Chi_Minh"
    assert empty.gateway.mappings == Path("/site/mappings")
    assert empty.store.url == "sqlite:////site/data/labgateway.db"
    assert (empty.matching.window_h, empty.matching.wait_h, empty.matching.alarm_h) == (72, 240, 24)
    assert (empty.instruments, empty.orders, empty.destinations, empty.console) == ({}, {}, {}, None)
    line = read(SMALL).instruments["xn1"].line
    assert line == c.TcpListenLine(port=5101, host="0.0.0.0", allow=(), connections=1)
    emr = read('[destination.emr]\nkind="mllp"\nhost="emr"\nport=2576').destinations["emr"]
    assert isinstance(emr, c.MllpDestination)
    assert (emr.status, emr.shadow, emr.instruments, emr.tests) == ("as_sent", False, (), ())
    assert (emr.answer_s, emr.retry_first_s, emr.retry_max_s) == (30, 1, 30)
    assert (emr.tries_when_asked, emr.connections, emr.version) == (5, 1, "2.5.1")


def test_paths_count_from_the_config_file(tmp_path: Path) -> None:
    """Relative paths are those of the config file's folder, absolute ones stay; SQLite's path too."""
    text = '[gateway]\nmappings = "maps"\ndata = "/var/lib/labgateway"\n' + SMALL
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    config = load(tmp_path / "config.toml")
    assert config.instruments["xn1"].mapping == tmp_path / "maps" / "xn1.toml"
    assert config.store.url == "sqlite:////var/lib/labgateway/labgateway.db"
    for url in ("sqlite:////abs/x.db", "postgresql+psycopg://u@h/d", "sqlite:///:memory:"):
        assert read(f'[store]\nurl = "{url}"').store.url == url
    assert read('[store]\nurl = "sqlite+pysqlite:///x.db?a=b"').store.url == "sqlite+pysqlite:////site/x.db?a=b"


MISTAKES: list[tuple[str, int | None, str, str, str]] = [
    # text, line, key, part of what, part of cure
    ('[gatewy]\nname = "x"', 1, "gatewy", "no section", "Did you mean `gateway`?"),
    ('[gateway]\nnam = "x"', 2, "gateway.nam", "not a key", "Did you mean `name`?"),
    ('[gateway]\npassword = "secret"', 2, "gateway.password", "not a key", "Take it out"),
    ("[gateway]\nname = 5", 2, "gateway.name", "must be text", "quotes"),
    ('[gateway]\nname = ""', 2, "gateway.name", "empty", "between 1"),
    ('[gateway]\ntimezone = "Asia/Hanoi"', 2, "gateway.timezone", "no time zone", "Asia/Ho_Chi_Minh"),
    ('[gateway]\ntimezone = "../etc/passwd"', 2, "gateway.timezone", "no time zone", "Asia/Ho_Chi_Minh"),
    ('[gateway]\ndrivers = "drivers"', 2, "gateway.drivers", "must be a list", "brackets"),
    ("[gateway]\ndrivers = [3]", 2, "gateway.drivers.0", "must be a path", "quotes"),
    ("gateway = 5", 1, "gateway", "must be a section", "[gateway]"),
    ('[store]\nurl = "mysql://x"', 2, "store.url", "SQLite or PostgreSQL", "sqlite:///"),
    ('[matching]\nwithout_order = "no"', 2, "matching.without_order", "none of the words", "'wait' or 'send'"),
    ('[matching]\nwait_h = "240"', 2, "matching.wait_h", "must be a number", "without quotes"),
    ("[matching]\nwait_h = nan", 2, "matching.wait_h", "must be a number", "digits"),
    ("[matching]\nwindow_h = -1", 2, "matching.window_h", "too small", "from 0"),
    ('[matching]\nspecimen_pattern = "["', 2, "matching.specimen_pattern", "no regular expression", "Mend"),
    ('[matching]\nsecond_ids = ["ward"]', 2, "matching.second_ids.0", "none of the words", "birth_date"),
    ("[matching]\nwait_h = true", 2, "matching.wait_h", "must be a number", "digits"),
    ('[instrument.XN1]\ndriver = "x"', 1, "instrument.XN1", "no good name", "a-z"),
    ("[instrument]\nxn1 = 5", 2, "instrument.xn1", "must be a section", "[instrument.xn1]"),
    (SMALL.replace("driver ", "#"), 1, "instrument.xn1.driver", "is missing", 'driver = "sysmex_xn"'),
    (SMALL.replace("mapping", "#"), 1, "instrument.xn1.mapping", "is missing", 'mapping = "xn1.toml"'),
    (SMALL.replace("line ", "#"), 1, "instrument.xn1.line", "is missing", "tcp-listen"),
    (SMALL.replace("5101", "510100"), 4, "instrument.xn1.line.port", "too large", "65535"),
    (SMALL.replace("5101", '"5101"'), 4, "instrument.xn1.line.port", "whole number", "without quotes"),
    (SMALL.replace("5101", "true"), 4, "instrument.xn1.line.port", "whole number", "digits"),
    (SMALL.replace("tcp-listen", "udp"), 4, "instrument.xn1.line.kind", "none of the kinds", "tcp-listen"),
    (SMALL.replace('kind = "tcp-listen", ', ""), 4, "instrument.xn1.line.kind", "missing", "tcp-listen"),
    (SMALL.replace("port", "prt"), 4, "instrument.xn1.line.port", "missing", "port = 5101"),
    (SMALL.replace(" }", ', baud = 9600 }'), 4, "instrument.xn1.line.baud", "not a key", "allow"),
    (SMALL.replace(" }", ', allow = ["ten"] }'), 4, "instrument.xn1.line.allow.0", "no network", "10.20.0.0/24"),
    (SMALL.replace(" }", ', connections = 0 }'), 4, "instrument.xn1.line.connections", "too small", "from 1"),
    (SMALL + 'release = "yes"', 5, "instrument.xn1.release", "none of the words", "'auto' or 'manual'"),
    (SMALL + "[instrument.xn1.deep]\nx = 1", 5, "instrument.xn1.deep", "not a key", "driver"),
    ('[orders.emr]\nkind = "mllp-listen"\nport = 1\nspecimen_id = ["SPM2"]', 4, "orders.emr.specimen_id.0",
     "no place", "SPM-2.1"),
    ('[orders.emr]\nkind = "mllp-listen"\nport = 1\nspecimen_id = []', 4, "orders.emr.specimen_id",
     "empty list", "at least one"),
    ('[destination.emr]\nkind = "mllp"\nhost = "h"\nport = 0', 4, "destination.emr.port", "too small", "from 1"),
    ('[destination.emr]\nkind = "mllp"\nhost = "mllp://h"\nport = 1', 3, "destination.emr.host", "no host", "alone"),
    ('[destination.emr]\nkind = "mllp"\nhost = "h"\nport = 1\ninstruments = ["xn2"]\n' + SMALL, 5,
     "destination.emr.instruments.0", "no [instrument.xn2]", "Did you mean `xn1`?"),
    ('[destination.emr]\nkind = "mllp"\nhost = "h"\nport = 1\nretry_first_s = 60', 5,
     "destination.emr.retry_first_s", "longer", "smaller"),
    ('[console]\nlisten = "8080"', 2, "console.listen", "address and a port", "127.0.0.1:8080"),
    ("a = 1\na = 2", 2, "", "is not TOML", "written twice"),
    ("a = [", 1, "", "is not TOML", "bracket"),
    ("a = " + "1" * 5000, 1, "", "too long", "as a text"),
    ("a = " + "[" * 5000 + "]" * 5000, None, "", "too deep", "Take the brackets"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "what", "cure"), MISTAKES, ids=[m[2] or m[0][:9] for m in MISTAKES])
def test_one_mistake(text: str, line: int | None, key: str, what: str, cure: str) -> None:
    """Each kind of mistake names its line, its key, what is wrong and what to do, and never the value."""
    found = [c for c in complaints(text) if c.key == key]
    assert len(found) == 1
    assert (found[0].file, found[0].line) == (str(SITE), line)
    assert what in found[0].what
    assert cure in found[0].cure
    assert "secret" not in str(found[0])


def test_all_mistakes_at_once_in_order() -> None:
    """Mistakes of all sections come together, ordered by line; a broken line does not hide the other keys."""
    text = """\
[gateway]
timezone = "Mars/Base"
[instrument.a]
mapping = "a.toml"
release = "later"
line = { kind = "tcp-listen", port = -1 }
[destination.b]
kind = "carrier-pigeon"
[nonsense]
"""
    found = complaints(text)
    assert [c.line for c in found] == [2, 3, 5, 6, 8, 9]
    assert [c.key for c in found] == [
        "gateway.timezone",
        "instrument.a.driver",
        "instrument.a.release",
        "instrument.a.line.port",
        "destination.b.kind",
        "nonsense",
    ]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "10.0.0.1", True),
        ("10.0.0.1", "::", True),
        ("localhost", "127.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_a_port_taken_twice(first: str, second: str, clash: bool) -> None:
    """Two listeners on one address and port are complained about once, with both lines; other addresses are not."""
    text = f"""\
[instrument.a]
driver = "x"
mapping = "a.toml"
line = {{ kind = "tcp-listen", host = "{first}", port = 5101 }}
[orders.emr]
kind = "mllp-listen"
host = "{second}"
port = 5101
"""
    if not clash:
        read(text)
        return
    found = only(text)
    assert (found.line, found.key) == (8, "orders.emr.port")
    assert "line 4" in found.what
    assert "[instrument.a]" in found.what


def test_port_zero_never_clashes() -> None:
    """Tests may let the system choose many ports."""
    text = "".join(
        f'[instrument.a{n}]\ndriver="x"\nmapping="a.toml"\nline={{kind="tcp-listen",port=0}}\n' for n in range(3)
    )
    assert len(read(text).instruments) == 3


def test_console_and_instrument_on_one_port() -> None:
    """The console's port counts too."""
    found = only(SMALL + '[console]\nlisten = "127.0.0.1:5101"')
    assert (found.line, found.key) == (6, "console.listen")


def test_orders_of_other_kinds() -> None:
    """FHIR and folders; a port that is open to a network needs a token."""
    found = read(
        '[orders.f]\nkind = "fhir-listen"\nport = 1\nspecimen_id = "accessionIdentifier"\n[orders.x]\nkind = "folder"\npath = "in"'
    )
    fhir, folder = found.orders["f"], found.orders["x"]
    assert isinstance(fhir, c.FhirListen)
    assert fhir.specimen_id == ("accessionIdentifier",)
    assert isinstance(folder, c.FolderOrders)
    assert str(folder.path) == "/site/in"
    open_port = only('[orders.f]\nkind = "fhir-listen"\nport = 1\nallow = ["10.0.0.0/8"]')
    assert open_port.key == "orders.f.token_file"


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ('kind = "serial"', "device", "is missing"),
        ('kind = "serial", device = "rfc2217://h"', "device", "no address of a converter"),
        ('kind = "serial", device = "socket://h:1"', "device", "no address of a converter"),
        ('kind = "serial", device = "/dev/ttyUSB0", stop = 3', "stop", "not possible"),
        ('kind = "serial", device = "/dev/ttyUSB0", parity = "E"', "parity", "none of the words"),
        ('kind = "serial", device = "/dev/ttyUSB0", baud = "9600"', "baud", "whole number"),
        ('kind = "serial", device = "/dev/ttyUSB0", flow = "hard"', "flow", "none of the words"),
    ],
)
def test_serial_lines_that_are_wrong(line: str, key: str, words: str) -> None:
    """A wrong setting is named with its key."""
    found = only(SMALL.replace('kind = "tcp-listen", port = 5101', line))
    assert found.key.endswith(f"line.{key}")
    assert words in found.what


def test_serial_lines_that_are_right() -> None:
    """A path counts from the config file's folder; a converter's address stays; what is not set is the driver's."""
    more = SMALL.replace(
        'kind = "tcp-listen", port = 5101',
        'kind = "serial", device = "tty/x", baud = 4800, stop = 1.5, flow = "rts/cts"',
    )
    line = read(more).instruments["xn1"].line
    assert isinstance(line, c.SerialLine)
    assert line.device.startswith("/") and line.device.endswith("/tty/x")
    assert (line.baud, line.bits, line.parity, line.stop, line.flow) == (4800, None, None, 1.5, "rts/cts")
    line = read(more.replace("tty/x", "rfc2217://10.20.0.40:4001")).instruments["xn1"].line
    assert isinstance(line, c.SerialLine)
    assert line.device == "rfc2217://10.20.0.40:4001"


def test_every_supported_kind_is_read() -> None:
    """The sets of kinds that can run name only kinds that are read."""
    from labgateway.config import reading as module

    for supported, kinds in (
        (c.SUPPORTED_LINES, module._LINES),
        (c.SUPPORTED_ORDERS, module._ORDERS),
        (c.SUPPORTED_DESTINATIONS, module._DESTINATIONS),
    ):
        assert supported <= set(kinds)


def test_missing_mapping_is_no_mistake_of_the_config(tmp_path: Path) -> None:
    """A broken or missing mapping leaves the config good; its text is part of the version."""
    path = tmp_path / "config.toml"
    path.write_text(SMALL, encoding="utf-8")
    missing = load(path)
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "xn1.toml").write_text("[[[ broken", encoding="utf-8")
    broken = load(path)
    assert broken.instruments == missing.instruments
    assert re.fullmatch("[0-9a-f]{64}", broken.version)
    assert broken.version != missing.version
    assert load(path).version == broken.version
    assert missing.version != hashlib.sha256(b"").hexdigest()


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config wins, then the working folder, then the system's; none is a complaint with a cure."""
    from labgateway.config import reading as module

    system = tmp_path / "etc.toml"
    monkeypatch.setattr(module, "SYSTEM_CONFIG", system)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ComplaintsError, match="--config"):
        find()
    system.touch()
    assert find() == system
    Path("config.toml").touch()
    assert find() == Path("config.toml")
    Path("other.toml").touch()
    assert find("other.toml") == Path("other.toml")
    with pytest.raises(ComplaintsError, match="is not there"):
        find("missing.toml")


def test_a_byte_order_mark_is_no_mistake() -> None:
    """Notepad's mark in front of the file is accepted."""
    assert parse(b"\xef\xbb\xbf" + SMALL.encode(), SITE).instruments


def test_secrets_do_not_show() -> None:
    """A database address, which may hold a password, is not shown when a config is printed."""
    assert "hunter2" not in repr(read('[store]\nurl = "postgresql://u:hunter2@h/d"'))


def test_password_of_the_store(tmp_path: Path) -> None:
    """The password comes from its own file into the address that the store opens, quoted; a missing file is said."""
    path = tmp_path / "config.toml"
    path.write_text('[store]\nurl = "postgresql://lab@h/d"\npassword_file = "pw"', encoding="utf-8")
    config = load(path)
    with pytest.raises(ComplaintsError, match="password_file"):
        _ = config.store_url
    (tmp_path / "pw").write_text("p@ss/w\n", encoding="utf-8")
    assert config.store_url == "postgresql://lab:p%40ss%2Fw@h/d"
    assert "p@ss" not in repr(config)
    assert read("").store_url == "sqlite:////site/data/labgateway.db"


def test_sample_loads() -> None:
    """The sample at the root of the repository is good as it stands."""
    config = load(ROOT / "config.toml")
    assert list(config.instruments) == ["xn1", "c311", "bc1", "xp1"]


def test_sample_shows_the_true_defaults() -> None:
    """Taking the # from every default of the sample changes nothing."""
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    bare = re.sub(r"^# (?=[a-z_]+ *= )", "", text, flags=re.MULTILINE)
    assert bare.count("\n# ") < text.count("\n# ") - 20
    before, after = read(text), read(bare)
    for name in (f.name for f in fields(c.Config) if f.name != "version"):
        assert getattr(after, name) == getattr(before, name), name


def test_sample_shows_every_key() -> None:
    """Every key of every section stands in the sample."""
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    from labgateway.config import reading as module

    shapes = [c.Gateway, c.Store, c.Matching, c.Instrument, c.Console]
    shapes += [*module._LINES.values(), *module._ORDERS.values(), *module._DESTINATIONS.values()]
    for shape in shapes:
        for key in (f.name for f in fields(shape)):
            assert re.search(rf"\b{key} *= ", text), f"{shape.__name__}.{key}"


def test_sample_of_other_kinds() -> None:
    """Each section of orders that the sample shows as another kind is written right."""
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    blocks = [b for b in re.findall(r"(?:^#   .*\n)+", text, flags=re.MULTILINE) if b.startswith("#   [orders.")]
    assert len(blocks) == 3
    for block in blocks:
        read(re.sub(r"^#   ", "", block, flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        (
            'kind = "sql"\nurl = "mysql+pymysql://h/d"\ntable = "t"\ncolumns = { a = "valu" }',
            "columns.a",
            "none of the fields",
        ),
        (
            'kind = "sql"\nurl = "mysql+pymysql://h/d"\ntable = "t"\ncolumns = { a = "value" }',
            "columns",
            "hold no `id`",
        ),
        (
            'kind = "sql"\nurl = "mysql+pymysql://h/d"\ntable = "t"\ncolumns = { a = "id", b = "id" }',
            "columns",
            "2 times",
        ),
        ('kind = "sql"\nurl = "sqlite:///x"\ntable = "t"', "url", "no address"),
        ('kind = "sql"\nurl = "mysql+pymysql://u:p@h/d"\ntable = "t"', "url", "password"),
        ('kind = "sql"\nurl = "mysql+pymysql://h/d"\ntable = "t; x"', "table", "no name"),
        ('kind = "folder"\npath = "o"\nformat = "hl7"\ncolumns = { a = "id" }', "columns", "has no columns"),
        ('kind = "folder"\npath = "o"\nformat = "csv"\ncolumns = { a = "nam" }', "columns.a", "none of the fields"),
        ('kind = "folder"\npath = "o"\nconnections = 2', "connections", "one report after the other"),
        (
            'kind = "folder"\npath = "o"\nformat = "table4"\ncolumns = { MA_LK = "placer", MA_DICH_VU = "code", STT = "id" }',
            "columns.STT",
            "no field of table 4",
        ),
        ('kind = "mqtt"\nhost = "h"\nport = 1\ntopic = "t"', "answers", "only an answer settles"),
        ('kind = "mqtt"\nhost = "h"\nport = 1\ntopic = "t"\nsettle = "puback"\nqos = 2', "qos", "cannot settle"),
        ('kind = "mqtt"\nhost = "h"\nport = 1\ntopic = "lab/#"\nsettle = "puback"', "topic", "no good name"),
        ('kind = "mqtt"\nhost = "h"\nport = 1\ntopic = "lab/{specimen}"\nsettle = "puback"', "topic", "{specimen}"),
        ('kind = "nats"\nservers = ["nats://u:p@h"]\nsubject = "s"', "servers.0", "no address"),
        ('kind = "nats"\nservers = ["nats://h"]\nsubject = "lab.>"', "subject", "no good name"),
        ('kind = "nats"\nservers = ["nats://h"]\nsubject = "s"\ntoken_file = "a"\nuser = "b"', "user", "beside"),
    ],
)
def test_columns(text: str, key: str, what: str) -> None:
    """A column that is declared wrong is said with its key."""
    found = complaints("[destination.x]\n" + text)
    said = [one for one in found if one.key == f"destination.x.{key}"]
    assert said and any(what in one.what for one in said), found


def test_a_template_is_part_of_the_version(tmp_path: Path) -> None:
    """Another template makes other messages: another version of the config."""
    file, template = tmp_path / "config.toml", tmp_path / "his.json"
    file.write_text(
        '[destination.his]\nkind = "http"\nurl = "https://h"\ntemplate_file = "his.json"\n', encoding="utf-8"
    )
    template.write_text("{}", encoding="utf-8")
    before = load(file).version
    template.write_text("[]", encoding="utf-8")
    assert load(file).version != before
    assert load(file).version == load(file).version


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ('kind = "http"\nurl = "http://h"\ntls = {}', "tls", "no use with http"),
        ('kind = "http"\nurl = "https://h"\ntoken_file = "t"\nuser = "u"', "user", "beside token_file"),
        ('kind = "http"\nurl = "https://h"\npassword_file = "p"', "password_file", "needs a user"),
        ('kind = "http"\nurl = "https://user:secret@h"', "url", "no web address"),
        ('kind = "fhir"\nurl = "https://h"\ncreate_patient = true', "create_patient", "needs patient_system"),
        ('kind = "fhir"\nurl = "https://h"\nreferences = "conditional"', "references", "needs patient_system"),
        ('kind = "fhir"\nurl = "https://h"\nsystem = "our ids"', "system", "no system of identifiers"),
        ('kind = "mllp"\nhost = "h"\nport = 1\ntls = { key_file = "k" }', "tls", "key without its certificate"),
        ('kind = "mllp"\nhost = "h"\nport = 1\ntls = { ca_file = "a", pinned_file = "b" }', "tls", "both"),
        ('kind = "mllp"\nhost = "h"\nport = 1\nversion = "2.6"', "version", ""),
        ('kind = "mllp"\nhost = "h"\nport = 1\nper_second = 0.0', "per_second", ""),
        ('kind = "mllp"\nhost = "h"\nport = 1\nsensitive = "only"', "sensitive", "no test is declared"),
    ],
)
def test_keys_of_destinations_that_do_not_fit(keys: str, key: str, words: str) -> None:
    """Each is said with its key."""
    found = only(f"[destination.x]\n{keys}")
    assert found.key == f"destination.x.{key}"
    assert words in found.what
