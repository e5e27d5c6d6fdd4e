"""`labgateway check`: everything wrong in config, drivers and mappings, and nothing opened."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from labgateway.cli import main

CONFIG = """\
[gateway]
drivers = ["drivers"]
[instrument.ex1]
driver = "example_haem"
mapping = "ex1.toml"
line = { kind = "tcp-listen", host = "127.0.0.1", port = 5101 }
[destination.emr]
kind = "mllp"
host = "10.20.0.9"
port = 2576
"""
DRIVER = """\
schema = 1
title = "Example Haem"
maker = "Example"
models = ["Haem 3"]
status = "simulated"
protocol = "astm"
sources = ["Example manual, 1.0"]
[where]
specimen = "O-3"
code = "R-3.4"
value = "R-4"
unit = "R-5"
[tests]
WBC = "10*3/uL"
HGB = "g/dL"
"""
MAPPING = """\
instrument = "ex1"
[tests]
WBC = { emr = "WBC", unit = "10*9/L", times = 1 }
HGB = { emr = "HGB", unit = "g/L", times = 10 }
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "drivers" / "example_haem").mkdir(parents=True)
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "mappings" / "ex1.toml").write_text(MAPPING, encoding="utf-8")
    (tmp_path / "drivers" / "example_haem" / "driver.toml").write_text(DRIVER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    code = main(["check", *args])
    return code, capsys.readouterr().out


def test_good(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good site gets one line and 0; no database or folder appears."""
    assert check(capsys) == (0, "config.toml: 1 instrument, 1 destination: good\n")
    assert check(capsys, "--json") == (0, "")
    assert not (site / "data").exists()


def test_no_port_is_opened(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that another program holds does not matter to check."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = CONFIG.replace("5101", str(taken.getsockname()[1]))
        (site / "config.toml").write_text(text, encoding="utf-8")
        assert check(capsys)[0] == 0


def test_a_wrong_factor(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The complaint of EXAMPLES 13, with file and line."""
    (site / "mappings" / "ex1.toml").write_text(MAPPING.replace("10 }", "1 }"), encoding="utf-8")
    code, out = check(capsys)
    assert code == 1
    assert "mappings/ex1.toml:4: tests.HGB.times: HGB comes in g/dL (driver example_haem)." in out
    assert "To get g/L multiply by 10; you wrote 1." in out
    assert out.endswith("config.toml: 1 instrument, 1 destination: 1 mistake\n")


def test_three_mistakes_as_json(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake is one JSON object with file, line, key, what and cure."""
    text = '[tests]\nWBC = { emr = "WBC", loinc = "6690-3" }\nHGB = { }\nXYZ = { emr = "X" }\n'
    (site / "mappings" / "ex1.toml").write_text(text, encoding="utf-8")
    code, out = check(capsys, "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [(one["file"], one["line"]) for one in found] == [("mappings/ex1.toml", n) for n in (2, 3, 4)]
    assert all(one["what"] and one["cure"] and one["key"] for one in found)


def test_config_mistakes(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown key of config.toml is a problem found: 1, not a wrong call."""
    (site / "config.toml").write_text(CONFIG + "prot = 1\n", encoding="utf-8")
    code, out = check(capsys)
    assert code == 1
    assert "config.toml:11: destination.emr.prot" in out
    assert "Did you mean `port`?" in out


def test_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A config file that is not there is a wrong call."""
    monkeypatch.chdir(tmp_path)
    assert check(capsys, "--config", "none.toml")[0] == 2


def test_broken_and_missing_driver(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken driver is named with its own line, a missing one with the line of config.toml."""
    driver = site / "drivers" / "example_haem" / "driver.toml"
    driver.write_text(DRIVER.replace("protocol", "protcol"), encoding="utf-8")
    code, out = check(capsys)
    assert code == 1
    assert "drivers/example_haem/driver.toml:6" in out
    (site / "config.toml").write_text(CONFIG.replace("example_haem", "nobody_x"), encoding="utf-8")
    code, out = check(capsys)
    assert code == 1
    assert "config.toml:4: instrument.ex1.driver: there is no driver nobody_x." in out


def test_missing_mapping(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mapping file that is not there is said, with exit code 1."""
    (site / "mappings" / "ex1.toml").unlink()
    code, out = check(capsys)
    assert code == 1
    assert "mappings/ex1.toml: cannot be read" in out


def test_shared_files_and_panels(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two instruments may share a mapping; a panel may be answered by several; a stranger's file is noticed."""
    second = CONFIG[CONFIG.index("[instrument") : CONFIG.index("[destination")].replace("ex1]", "ex2]")
    text = CONFIG + second.replace("5101", "5102")
    (site / "config.toml").write_text(text, encoding="utf-8")
    assert check(capsys)[0] == 0
    panel = '[panels]\nALL = ["WBC", "GLU"]\n'
    (site / "mappings" / "ex1.toml").write_text(MAPPING + panel, encoding="utf-8")
    assert check(capsys)[1].count("answers GLU") == 1
    other = MAPPING.replace('"ex1"', '"ex9"').replace('"WBC"', '"GLU"')
    (site / "mappings" / "ex2.toml").write_text(other, encoding="utf-8")
    text = CONFIG + second.replace("5101", "5102").replace("ex1.toml", "ex2.toml")
    (site / "config.toml").write_text(text, encoding="utf-8")
    code, out = check(capsys)
    assert code == 1
    assert "answers GLU" not in out
    assert "mappings/ex2.toml:1: instrument: the file is written for ex9, and used by ex2." in out


def test_a_driver_for_files_on_a_line_without_files(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table cannot come over TCP: said with the line and what to write, before anything is started."""
    (site / "config.toml").write_text(CONFIG.replace("example_haem", "roche_c111_csv"), encoding="utf-8")
    code, out = check(capsys)
    assert code == 1
    assert "instrument.ex1.line.kind: a tcp-listen line does not speak table" in out
    assert 'kind = "folder"' in out


def test_orders_that_a_driver_cannot_be_told(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unasked orders, and a second connection for them, where the instrument takes orders only as an answer, or none."""
    second = 'orders_line = { kind = "tcp", host = "127.0.0.1", port = 5199 }'
    for driver, wrong in (("mindray_bs", True), ("example_haem", True), ("ihe_law", False)):
        text = CONFIG.replace('"example_haem"', f'"{driver}"').replace(
            "line =", f'orders = "unasked"\n{second}\nline =', 1
        )
        (site / "config.toml").write_text(text, encoding="utf-8")
        main(["check"])
        said = capsys.readouterr().out
        assert ("cannot be sent orders that it did not ask for" in said) is wrong
        assert ("takes no orders on a second connection" in said) is wrong


def test_note_about_closed_listeners(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A listener that nobody else may call is a note, no mistake."""
    (site / "config.toml").write_text(CONFIG.replace('host = "127.0.0.1", ', ""), encoding="utf-8")
    code, out = check(capsys)
    assert code == 0
    assert "note: [instrument.ex1] takes calls from this machine only" in out


def test_sample_site(capsys: pytest.CaptureFixture[str]) -> None:
    """The sample config of the repository, with the sample mappings and the shipped drivers, is good."""
    code, out = check(capsys, "--config", str(Path(__file__).parents[2] / "config.toml"))
    assert code == 0, out
    assert "4 instruments, 1 source of orders, 1 destination: good" in out


def test_files_and_tests_that_destinations_name(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sensitive test with a slip in its name, a template that is none, a missing token and certificate: each is said."""
    text = CONFIG.replace("[gateway]", '[gateway]\nsensitive = ["WBC", "HIVAP"]') + (
        '[destination.his]\nkind = "http"\nurl = "http://h/x"\ntemplate_file = "his.json"\ntoken_file = "no.token"\n'
        'tests = ["HBG"]\n[destination.far]\nkind = "mllp"\nhost = "h"\nport = 1\ntls = { ca_file = "no.pem" }\n'
    )
    (site / "config.toml").write_text(text, encoding="utf-8")
    (site / "his.json").write_text('{"a": "{valeu}", "b": ["{code}"]}', encoding="utf-8")
    code, said = check(capsys)
    assert code == 1
    for words in (
        "config.toml:2: gateway.sensitive: HIVAP is no test of the EMR",
        "destination.his.tests: HBG is no test of the EMR",
        "his.json: {valeu} is no field.",
        "config.toml:16: destination.his.token_file: no.token is not there.",
        "config.toml:22: destination.far.tls: ",
        ": 5 mistakes",
        "note: [destination.his] sends results unencrypted",
    ):
        assert words in said, said
    (site / "his.json").write_text('{"b": ["{code}"]}', encoding="utf-8")
    assert "his.json" not in check(capsys)[1]


FILES = """\
[gateway]
drivers = ["drivers"]
[store]
url = "postgresql+psycopg://labgateway@127.0.0.1/x"
password_file = "store.pw"
[instrument.ex1]
driver = "example_haem"
mapping = "ex1.toml"
line = { kind = "tcp-listen", host = "127.0.0.1", port = 5101, tls = { certificate_file = "a.pem", key_file = "a.key" } }
[orders.emr]
kind = "mllp-listen"
host = "127.0.0.1"
port = 2575
[orders.emr.tls]
certificate_file = "b.pem"
key_file = "b.key"
[orders.fhir]
kind = "fhir-listen"
host = "127.0.0.1"
port = 2576
token_file = "fhir.token"
[orders.database]
kind = "sql"
url = "postgresql+psycopg://labgateway@emr.example/emr"
password_file = "db.pw"
query_file = "orders.sql"
[orders.files]
kind = "folder"
path = "orders"
[destination.broker]
kind = "mqtt"
host = "broker.example"
port = 1883
user = "labgateway"
password_file = "broker.pw"
topic = "lab"
settle = "puback"
[destination.centre]
kind = "nats"
servers = ["nats://hub.example:4222"]
subject = "lab"
credentials_file = "site.creds"
[destination.table]
kind = "sql"
url = "postgresql+psycopg://labgateway@10.20.0.9/emr"
password_file = "table.pw"
table = "lab_results"
[destination.files]
kind = "folder"
path = "results"
[console]
"""


def test_every_file_that_the_config_names_is_looked_at(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A password, token, certificate or query that is not there, or empty, stops a part of the site: said with its line."""
    (site / "config.toml").write_text(FILES, encoding="utf-8")
    (site / "table.pw").write_text("\n", encoding="utf-8")
    (site / "b.pem").write_text("no certificate", encoding="utf-8")
    (site / "b.key").write_text("no key", encoding="utf-8")
    code, said = check(capsys)
    assert code == 1
    for line, key, what in (
        (5, "store.password_file", "store.pw is not there."),
        (9, "instrument.ex1.line.tls", f"{site / 'a.key'} is not there."),
        (14, "orders.emr.tls", f"{site / 'b.pem'} holds no certificate (PEM) that fits the key"),
        (21, "orders.fhir.token_file", "fhir.token is not there."),
        (25, "orders.database.password_file", "db.pw is not there."),
        (26, "orders.database.query_file", "orders.sql is not there."),
        (35, "destination.broker.password_file", "broker.pw is not there."),
        (42, "destination.centre.credentials_file", "site.creds is not there."),
        (46, "destination.table.password_file", "table.pw is empty."),
    ):
        assert f"config.toml:{line}: {key}: {what}" in said, said
    assert ": 9 mistakes" in said, said
    assert "note: [orders.files] the folder " in said and "note: [destination.files] the folder " in said
    assert "note: [console] this version has no web console" in said


def test_note_about_a_fhir_door_that_is_closed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of the other listeners."""
    text = CONFIG + '[orders.fhir]\nkind = "fhir-listen"\nport = 2577\n'
    (site / "config.toml").write_text(text, encoding="utf-8")
    code, said = check(capsys)
    assert code == 0
    assert "note: [orders.fhir] takes calls from this machine only" in said
