"""What is wrong with an installation: facts about the machine in, findings out. Pure."""
# ruff: noqa: E501 - sentences in two languages

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from labgateway.doctor.findings import Finding, Severity, Words

BAD, DOUBT, GOOD = Severity.BAD, Severity.DOUBT, Severity.GOOD

FREE_BAD_MB, FREE_DOUBT_MB = 500, 5000
FSYNC_BAD_MS, FSYNC_DOUBT_MS = 100.0, 20.0
"""A frame waits for its commit; an instrument waits 15 s for an answer, and people begin to notice at some 100 ms."""
OLDEST_YEAR = 2026


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known of the machine. None: could not be found out, or does not apply.

    sqlite: its version when it has a known bug, "" when it is sound. free_mb: on the disk of the data. fsync_ms: the
    slowest of a few. data: its path; writable: by us; open_to: who else may read it ("group", "everybody"), "". year:
    of the clock. synced: by NTP. systemd: the service is enabled. running: a gateway answers. ports: those of config.toml
    that another program holds. complaints: what `check` finds in the config.
    """

    data: str = ""
    sqlite: str = ""
    free_mb: float | None = None
    fsync_ms: float | None = None
    writable: bool = True
    open_to: str = ""
    year: int = OLDEST_YEAR
    synced: bool | None = None
    systemd: bool | None = None
    running: bool = True
    ports: tuple[int, ...] = ()
    complaints: int = 0


def examine(facts: HostFacts) -> tuple[Finding, ...]:
    """Findings, the worst first; one good one when nothing is wrong."""
    found = sorted(_all(facts), key=lambda one: one.severity is not BAD)
    return tuple(found) or (_finding("host_well", GOOD, facts),)


def _all(f: HostFacts) -> Iterator[Finding]:
    if f.complaints:
        yield _finding("config_bad", BAD, f)
    if f.sqlite:
        yield _finding("sqlite_old", BAD, f)
    if not f.writable:
        yield _finding("data_not_writable", BAD, f)
    elif f.open_to:
        yield _finding("data_open", BAD if f.open_to == "everybody" else DOUBT, f)
    if f.free_mb is not None and f.free_mb < FREE_DOUBT_MB:
        yield _finding("disk_low", BAD if f.free_mb < FREE_BAD_MB else DOUBT, f)
    if f.fsync_ms is not None and f.fsync_ms > FSYNC_DOUBT_MS:
        yield _finding("disk_slow", BAD if f.fsync_ms > FSYNC_BAD_MS else DOUBT, f)
    if f.year < OLDEST_YEAR:
        yield _finding("clock_wrong", BAD, f)
    if f.synced is False:
        yield _finding("not_synced", DOUBT, f)
    if f.ports:
        yield _finding("ports_taken", BAD, f)
    if not f.running:
        yield _finding("not_running", BAD, f)
    if f.systemd is False:
        yield _finding("no_service", DOUBT, f)


def _finding(name: str, severity: Severity, f: HostFacts) -> Finding:
    known = {
        "data": f.data, "sqlite": f.sqlite, "free": round(f.free_mb or 0), "fsync": round(f.fsync_ms or 0, 1),
        "year": f.year, "ports": ", ".join(map(str, f.ports)), "open_to": f.open_to, "complaints": f.complaints,
    }  # fmt: skip
    return Finding(name, severity, _WORDS[name], known)


_WORDS: dict[str, dict[str, Words]] = {
    "config_bad": {
        "en": ("config.toml, a driver or a mapping has mistakes.", "{complaints} of them.", "`labgateway check` names each with line and cure."),
        "vi": ("config.toml, driver hoặc mapping có lỗi.", "{complaints} lỗi.", "`labgateway check` nêu từng lỗi kèm dòng và cách sửa."),
    },
    "sqlite_old": {
        "en": ("SQLite has a bug that can lose a database.", "{sqlite}", "Install the wheel: pip install 'pysqlite3>=0.6.1'."),
        "vi": ("SQLite có lỗi có thể làm mất cơ sở dữ liệu.", "{sqlite}", "Cài gói: pip install 'pysqlite3>=0.6.1'."),
    },
    "data_not_writable": {
        "en": ("The data folder cannot be written.", "{data}", "chown -R labgateway: that folder, or set [gateway] data to another."),
        "vi": ("Không ghi được vào thư mục dữ liệu.", "{data}", "chown -R labgateway: thư mục đó, hoặc đặt [gateway] data sang nơi khác."),
    },
    "data_open": {
        "en": ("Others may read the patients' data.", "{data} is open to: {open_to}.", "chmod -R go= that folder."),
        "vi": ("Người khác đọc được dữ liệu bệnh nhân.", "{data} mở cho: {open_to}.", "chmod -R go= thư mục đó."),
    },
    "disk_low": {
        "en": ("The disk is nearly full.", "{free} MB are free where {data} lies.",
               "Free space or enlarge the disk. When it is full, instruments are asked to wait."),
        "vi": ("Ổ đĩa gần đầy.", "Còn {free} MB ở nơi có {data}.", "Giải phóng hoặc mở rộng ổ. Khi đầy, các máy sẽ được bảo chờ."),
    },
    "disk_slow": {
        "en": ("The disk is slow to make data safe.", "An fsync took {fsync} ms; every message waits for one.",
               "Use a local SSD, not a network share or an SD card; look for another program that writes much."),
        "vi": ("Ổ đĩa ghi an toàn chậm.", "Một lần fsync mất {fsync} ms; bản tin nào cũng phải chờ.",
               "Dùng SSD trong máy, không dùng ổ mạng hay thẻ SD; tìm chương trình khác đang ghi nhiều."),
    },
    "clock_wrong": {
        "en": ("The clock of this machine is wrong.", "It says {year}.", "timedatectl set-ntp true; replace the battery of the mainboard."),
        "vi": ("Đồng hồ của máy chủ sai.", "Đồng hồ chỉ năm {year}.", "timedatectl set-ntp true; thay pin trên bo mạch chủ."),
    },
    "not_synced": {
        "en": ("The clock is not kept right by a time server.", "timedatectl says NTPSynchronized=no.",
               "timedatectl set-ntp true, or name the house's time server in /etc/systemd/timesyncd.conf."),
        "vi": ("Đồng hồ không được máy chủ giờ chỉnh.", "timedatectl báo NTPSynchronized=no.",
               "timedatectl set-ntp true, hoặc ghi máy chủ giờ của viện vào /etc/systemd/timesyncd.conf."),
    },
    "ports_taken": {
        "en": ("Ports of config.toml are held by another program.", "Ports {ports}.", "`ss -ltnp` shows who; stop it or set other ports."),
        "vi": ("Cổng trong config.toml đang bị chương trình khác giữ.", "Cổng {ports}.", "`ss -ltnp` cho biết ai; tắt nó hoặc đặt cổng khác."),
    },
    "not_running": {
        "en": ("No gateway runs.", "Nobody answers on the control socket in {data}.", "systemctl start labgateway; journalctl -u labgateway says why not."),
        "vi": ("Cổng kết nối không chạy.", "Không ai trả lời ở socket điều khiển trong {data}.",
               "systemctl start labgateway; journalctl -u labgateway cho biết vì sao không chạy."),
    },
    "no_service": {
        "en": ("The gateway does not start by itself.", "systemd has no enabled service labgateway.", "systemctl enable labgateway (README, Install)."),
        "vi": ("Cổng kết nối không tự khởi động.", "systemd chưa bật dịch vụ labgateway.", "systemctl enable labgateway (README, mục Install)."),
    },
    "host_well": {
        "en": ("The installation is sound.", "SQLite, disk, clock, rights, ports and service were looked at.", "Nothing to do."),
        "vi": ("Cài đặt tốt.", "Đã xem SQLite, ổ đĩa, đồng hồ, quyền, cổng và dịch vụ.", "Không cần làm gì."),
    },
}  # fmt: skip
