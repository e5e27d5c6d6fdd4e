"""What the columns of a mapping spreadsheet are called and mean, in English and Vietnamese.

The columns of the page `tests` are the words of a line of [tests] (table.py), `sane` in two; a test holds both together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "names", "number", "count", "yes_no", "choice"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. key: its word in the file. title: in Vietnamese. width: in characters. choices: words it may hold."""

    key: str
    title: str
    help_en: str
    help_vi: str
    kind: Kind = "text"
    width: int = 12
    choices: tuple[str, ...] = ()


_TESTS = (
    Column(
        "code", "mã máy gửi", "The test code exactly as the analyzer sends it, capitals and all.",
        "Mã xét nghiệm đúng như máy gửi, kể cả chữ hoa chữ thường.",
    ),
    Column(
        "specimen", "loại mẫu", "Only for this type of specimen: serum, urine, CSF. Empty: for all others. "
        "One code may have several rows.",
        "Chỉ dùng cho loại mẫu này: serum, urine, CSF. Để trống: mọi loại khác. Một mã có thể có nhiều dòng.",
        width=10,
    ),
    Column(
        "emr", "mã EMR", "What the EMR calls the test. Several names with ; between them: the one that was ordered counts. "
        "? means: not decided yet.",
        "Mã xét nghiệm trong EMR. Nhiều mã cách nhau bằng dấu ; thì lấy mã được chỉ định. ? nghĩa là chưa quyết định.",
        "names", 14,
    ),
    Column("name", "tên", "The name that goes to the EMR.", "Tên xét nghiệm gửi sang EMR.", width=44),
    Column("loinc", "LOINC", "The LOINC code; it must fit the unit.", "Mã LOINC; phải phù hợp với đơn vị.", width=10),
    Column(
        "comes", "đơn vị máy gửi", "The unit that this very analyzer sends, where its kind can be set to several.",
        "Đơn vị mà chính máy này gửi, nếu loại máy có thể đặt nhiều đơn vị.",
    ),
    Column(
        "unit", "đơn vị EMR", "The unit that the EMR gets, as UCUM writes it: 10*9/L, g/L, mmol/L. Needs `times`.",
        "Đơn vị gửi sang EMR, viết theo UCUM: 10*9/L, g/L, mmol/L. Phải có `times`.",
    ),
    Column(
        "times", "nhân với", "What the value is multiplied by to be in `unit`; 1: it stays. A decimal comma may be used.",
        "Hệ số nhân để ra `unit`; 1: giữ nguyên. Có thể dùng dấu phẩy thập phân.",
        "number", 10,
    ),
    Column(
        "decimals", "số lẻ", "How many digits stand behind the point after `times`. Empty: as they come.",
        "Số chữ số thập phân sau khi nhân. Để trống: giữ như máy gửi.",
        "count", 8, tuple(str(number) for number in range(11)),
    ),
    Column(
        "lowest", "thấp nhất", "Below this value, in the EMR's unit, a result waits for a person.",
        "Dưới giá trị này (theo đơn vị EMR) kết quả chờ người xem.",
        "number", 10,
    ),
    Column(
        "highest", "cao nhất", "Above this value, in the EMR's unit, a result waits for a person.",
        "Trên giá trị này (theo đơn vị EMR) kết quả chờ người xem.",
        "number", 10,
    ),
    Column(
        "rerun", "chạy lại", "The same test again with another value: hold (a person decides) or last (the newest stands).",
        "Khi chạy lại có giá trị khác: hold (người quyết định) hoặc last (lấy giá trị mới nhất).",
        "choice", 8, ("hold", "last"),
    ),
    Column(
        "decimal_comma", "dấu phẩy", "yes: the analyzer writes 7,41. Empty: as the page `file` says.",
        "yes: máy viết 7,41. Để trống: theo trang `file`.",
        "yes_no", 14, ("yes", "no"),
    ),
    Column("moh", "mã BYT", "The index code of the Ministry of Health.", "Mã chỉ số của Bộ Y tế.", width=12),
)  # fmt: skip

COLUMNS: dict[str, tuple[Column, ...]] = {
    "tests": _TESTS,
    "panels": (
        Column("panel", "nhóm xét nghiệm", "What the EMR orders.", "Nhóm mà EMR chỉ định.", width=18),
        Column(
            "tests", "các xét nghiệm", "The EMR tests that answer it, ; between them.",
            "Các mã EMR trả lời nhóm này, cách nhau bằng dấu ;", "names", 90,
        ),
    ),
    "orders": (
        Column(
            "ordered", "chỉ định", "What the EMR orders, where the page `tests` read backwards is not right.",
            "Chỉ định của EMR, khi không thể suy ngược từ trang `tests`.", width=18,
        ),
        Column(
            "codes", "mã hỏi máy", "The analyzer's codes to ask for, ; between them; - for nothing.",
            "Các mã yêu cầu máy chạy, cách nhau bằng dấu ; hoặc - nếu không yêu cầu gì.", "names", 60,
        ),
    ),
    "leave_out": (
        Column("code", "mã máy gửi", "A code that stops here.", "Mã dừng lại ở đây.", width=18),
        Column("why", "lý do", "Why it is not passed on.", "Vì sao không chuyển tiếp.", width=70),
    ),
    "file": (
        Column("key", "mục", "What stands at the top of the file.", "Các mục ở đầu tệp.", width=18),
        Column(
            "value", "nội dung", "Only decimal_comma (yes or no, for all rows) may be changed here; `checked` is written "
            "by `labgateway mapping accept`.",
            "Ở đây chỉ được sửa decimal_comma (yes hoặc no, cho mọi dòng); `checked` do `labgateway mapping accept` ghi.",
            width=80,
        ),
    ),
}  # fmt: skip
NOTE = ("note", "ghi chú", "notes")
"""Headers of columns that are for people only and not read."""


HELP = (
    ("Change, add or delete rows, save, then `labgateway mapping import`. What you wrote becomes a draft: it is checked, "
     "compared and signed before any result uses it.",
     "Sửa, thêm hoặc xóa dòng, lưu lại, rồi chạy `labgateway mapping import`. Nội dung trở thành bản nháp: được kiểm tra, "
     "so sánh và ký trước khi có kết quả nào dùng đến."),
    ("Keep all cells formatted as Text. Leave the headers as they are; columns may change places. A column `note` is for you "
     "and is not read.",
     "Giữ định dạng Text cho mọi ô. Không sửa tiêu đề; có thể đổi thứ tự cột. Cột `ghi chú` dành cho bạn và không được đọc."),
    ("A row that you delete takes its line out of the file; comments in the file stay.",
     "Xóa một dòng ở đây là xóa dòng đó khỏi tệp; các chú thích trong tệp được giữ nguyên."),
)  # fmt: skip
"""What stands at the top of the help page, in both languages."""


def column_of(page: str, header: str) -> Column | None:
    """The column of a page that a header cell means: its word, its Vietnamese title, or both with · between them."""
    parts = {" ".join(part.split()).casefold() for part in header.replace("\n", "·").split("·")}
    for column in COLUMNS[page]:
        if column.key in parts or column.title.casefold() in parts:
            return column
    return None


def header_of(column: Column) -> str:
    """The header cell of a column, in both languages."""
    return f"{column.key} · {column.title}"


def is_note(header: str) -> bool:
    """Whether a column is for people only."""
    return " ".join(header.split()).casefold() in NOTE
