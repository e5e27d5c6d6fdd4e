"""What a mapping file's mistakes, changes and reasons are called in Vietnamese. Pure.

English is what the code says; each of its sentences stands here as a template, {} where a code, unit or number goes,
and beside it the same in Vietnamese. A text of several sentences is translated one by one. A test walks the rooms
whose sentences a lab manager reads and finds each of them here.
"""

from __future__ import annotations

import re
from functools import cache

from labgateway.errors import Reason
from labgateway.mapping import sheet_vietnamese

_SENTENCES: dict[str, str] = {
    # toml_lines
    "is not UTF-8 here.": "tại đây không phải là UTF-8.",
    "Save the file as UTF-8.": "Hãy lưu tệp với bảng mã UTF-8.",
    "is not TOML: {}.": "không đúng cú pháp TOML: {}.",
    "Look for a missing quote or bracket, a key written twice, or a text without quotes.": "Tìm chỗ thiếu dấu nháy hay "
    "dấu ngoặc, một khóa viết hai lần, hoặc chữ không có dấu nháy.",
    "holds a number or date that is too long.": "chứa một số hoặc ngày quá dài.",
    "Look for the longest number, and write it as a text.": "Tìm số dài nhất và viết nó thành chữ trong dấu nháy.",
    "is nested too deep.": "lồng nhau quá sâu.",
    "Take the brackets within brackets away.": "Bỏ các dấu ngoặc lồng trong dấu ngoặc.",
    # table
    "cannot be read: {}.": "không đọc được: {}.",
    "Put the file there, or correct `mapping` in config.toml.": "Đặt tệp vào đó, hoặc sửa `mapping` trong config.toml.",
    "Put the file there, readable for labgateway.": "Đặt tệp vào đó và cho labgateway quyền đọc.",
    "is nested too deep or holds a number too long.": "lồng nhau quá sâu hoặc chứa một số quá dài.",
    "Compare with a sample under mappings/.": "So sánh với một tệp mẫu trong mappings/.",
    "is no key of a mapping file.": "không phải là khóa của tệp ánh xạ.",
    "Did you mean `{}`?": "Có phải ý bạn là `{}`?",
    "Take it out. Known here: {}.": "Hãy bỏ nó đi. Ở đây chỉ dùng được: {}.",
    "A test stands under [tests]: {} = {{ ... }}.": "Xét nghiệm phải nằm dưới [tests]: {} = {{ ... }}.",
    "needs a reason.": "cần có lý do.",
    'Write why it stops here: "{}" = "why".': 'Hãy viết vì sao nó dừng ở đây: "{}" = "lý do".',
    "stands in [tests] (line {}) and in [leave_out].": "vừa có trong [tests] (dòng {}) vừa có trong [leave_out].",
    "Take one of the two out.": "Hãy bỏ một trong hai.",
    "must be a section.": "phải là một mục.",
    "Write [{}] and its lines below it.": "Hãy viết [{}] rồi các dòng của nó bên dưới.",
    "is no code.": "không phải là mã xét nghiệm.",
    "Write the code that the analyzer sends.": "Hãy viết mã mà máy gửi.",
    "must be a line in braces.": "phải là một dòng trong dấu ngoặc nhọn.",
    'Write {} = {{ emr = "{}" }}.': 'Hãy viết {} = {{ emr = "{}" }}.',
    "must be in braces.": "phải nằm trong dấu ngoặc nhọn.",
    'Write {{ specimen = "urine", emr = "UGLU" }}.': 'Hãy viết {{ specimen = "urine", emr = "UGLU" }}.',
    "is meant for the same specimen type as the one in line {}.": "dành cho cùng loại mẫu với dòng {}.",
    "Give each its own `specimen`; at most one may go without, for all other types.": "Cho mỗi dòng một `specimen` riêng; "
    "nhiều nhất một dòng được để trống, dùng cho mọi loại mẫu khác.",
    "is no key of a test line.": "không phải là khóa của dòng xét nghiệm.",
    "is missing.": "bị thiếu.",
    'Write what the EMR calls the test: emr = "{}".': 'Hãy viết tên xét nghiệm trong EMR: emr = "{}".',
    "is not decided yet.": "chưa được quyết định.",
    "Write what the EMR calls the test, or move the code under [leave_out] with the reason.": "Hãy viết tên xét nghiệm "
    "trong EMR, hoặc chuyển mã xuống [leave_out] kèm lý do.",
    "has no `times` beside it.": "không có `times` đi kèm.",
    "Add `times`: 1 when the value stays as it is, else what turns the analyzer's unit into this one.": "Thêm `times`: "
    "1 nếu giữ nguyên giá trị, nếu không thì là hệ số đổi đơn vị của máy sang đơn vị này.",
    "has no `unit` beside it.": "không có `unit` đi kèm.",
    "Add `unit`: the unit that the EMR gets after the factor.": "Thêm `unit`: đơn vị mà EMR nhận sau khi nhân hệ số.",
    "must be a name.": "phải là một tên.",
    'Write it in quotes, such as "WBC", or several: ["GLU", "GLU2H"].': 'Viết trong dấu nháy, ví dụ "WBC", hoặc nhiều '
    'tên: ["GLU", "GLU2H"].',
    "must hold names.": "phải chứa các tên.",
    'Write each in quotes, such as ["GLU", "GLU2H"].': 'Viết từng tên trong dấu nháy, ví dụ ["GLU", "GLU2H"].',
    "names {} twice.": "nêu {} hai lần.",
    "is empty.": "để trống.",
    'Name at least one test, such as ["WBC"].': 'Nêu ít nhất một xét nghiệm, ví dụ ["WBC"].',
    "Write it, or take the key out.": "Hãy viết giá trị, hoặc bỏ khóa này đi.",
    "must be text.": "phải là chữ.",
    'Write it in quotes: {} = "...".': 'Viết trong dấu nháy: {} = "...".',
    "must be yes or no.": "phải là có hoặc không.",
    "Write true or false, without quotes.": "Viết true hoặc false, không có dấu nháy.",
    "must be a number.": "phải là một số.",
    "Write it with a point and without quotes, such as 10 or 0.0555.": "Viết với dấu chấm thập phân và không có dấu nháy, "
    "ví dụ 10 hoặc 0.0555.",
    "must be above zero.": "phải lớn hơn không.",
    "Write the factor between the units, such as 10.": "Viết hệ số giữa hai đơn vị, ví dụ 10.",
    "must be a small whole number.": "phải là một số nguyên nhỏ.",
    "Write how many digits stand behind the point, 0 to {}.": "Viết số chữ số sau dấu thập phân, từ 0 đến {}.",
    "must be two numbers.": "phải là hai số.",
    "Write the lowest and the highest value that can be true, such as [0, 500].": "Viết giá trị thấp nhất và cao nhất có "
    "thể đúng, ví dụ [0, 500].",
    "is none of the words that it may be.": "không phải là từ được phép dùng.",
    'Write "hold" (a person decides) or "last" (the newest value stands).': 'Viết "hold" (để người quyết định) hoặc '
    '"last" (lấy giá trị mới nhất).',
    # lint: codes
    "driver {} can also send {}: no line answers.": "driver {} còn có thể gửi {}: không có dòng nào cho chúng.",
    'Add {} = {{ emr = "..." }} here, or {} = "why" under [leave_out].': 'Thêm {} = {{ emr = "..." }} tại đây, hoặc '
    '{} = "lý do" dưới [leave_out].',
    "Each needs a line of its own.": "Mỗi mã cần một dòng riêng.",
    "driver {} never sends {}.": "driver {} không bao giờ gửi {}.",
    "Did you mean {}?": "Có phải ý bạn là {}?",
    "Write the code as the instrument does, or take the line out.": "Hãy viết mã đúng như máy gửi, hoặc bỏ dòng này.",
    "{} is answered by {} already, in line {}.": "{} đã có kết quả từ mã {}, ở dòng {}.",
    "Put one of the two under [leave_out], or give them different EMR tests.": "Chuyển một trong hai xuống [leave_out], "
    "hoặc cho chúng hai xét nghiệm EMR khác nhau.",
    "no line under [tests] answers {}.": "không có dòng nào dưới [tests] cho {}.",
    "Add a line for it, or take it out of the panel.": "Thêm một dòng cho nó, hoặc bỏ nó khỏi nhóm xét nghiệm.",
    # lint: units
    "driver {} declares {}, not {}.": "driver {} khai báo {}, không phải {}.",
    "Write one of those, as the instrument sends it.": "Hãy viết một trong các đơn vị đó, đúng như máy gửi.",
    "the lowest value {} is above the highest {}: every result would be held.": "giá trị thấp nhất {} lớn hơn giá trị "
    "cao nhất {}: mọi kết quả sẽ bị giữ lại.",
    "Write [{}, {}].": "Hãy viết [{}, {}].",
    "nothing says which unit {} comes in; a factor fits one unit only.": "không có chỗ nào nói {} được gửi với đơn vị gì; "
    "mỗi hệ số chỉ đúng với một đơn vị.",
    'Say what this instrument sends: comes = "...".': 'Hãy ghi đơn vị mà máy này gửi: comes = "...".',
    "{} comes in {}.": "{} được gửi với đơn vị {}.",
    "{} comes in {} (driver {}).": "{} được gửi với đơn vị {} (driver {}).",
    "{} comes in {}, on some instruments {}.": "{} được gửi với đơn vị {}, ở một số máy là {}.",
    "{} comes in {} (driver {}), on some instruments {}.": "{} được gửi với đơn vị {} (driver {}), ở một số máy là {}.",
    'A factor fits one unit: say which, comes = "...".': 'Mỗi hệ số chỉ đúng với một đơn vị: hãy ghi rõ comes = "...".',
    "To get {} multiply by {}; you wrote {}.": "Để ra {} phải nhân với {}; bạn đã viết {}.",
    'If this instrument sends {}, add comes = "{}".': 'Nếu máy này gửi {}, hãy thêm comes = "{}".',
    "{} comes in {}: no factor leads from there to {}.": "{} được gửi với đơn vị {}: không hệ số nào đổi được sang {}.",
    "One of the two units belongs to another test; correct it.": "Một trong hai đơn vị thuộc về xét nghiệm khác; hãy sửa.",
    "{} means something else in UCUM.": "{} có nghĩa khác trong UCUM.",
    'Write unit = "{}".': 'Hãy viết unit = "{}".',
    "{} is no UCUM unit.": "{} không phải là đơn vị UCUM.",
    "Look it up at ucum.org; what is no unit of measure stands in braces, such as {{ratio}}.": "Hãy tra tại ucum.org; "
    "cái gì không phải đơn vị đo thì viết trong dấu ngoặc nhọn, ví dụ {{ratio}}.",
    "rounded to {} decimals, the highest limit {} is shown as 0.": "làm tròn đến {} chữ số thập phân thì giới hạn cao "
    "nhất {} hiện thành 0.",
    "Write more `decimals`, or correct `sane`.": "Tăng `decimals`, hoặc sửa `sane`.",
    # lint: LOINC
    "{} is no LOINC code: its check digit does not fit.": "{} không phải là mã LOINC: chữ số kiểm tra không khớp.",
    "Look it up again at loinc.org; two digits may have changed places.": "Hãy tra lại tại loinc.org; có thể hai chữ số "
    "đã đổi chỗ cho nhau.",
    "LOINC {} is a finding ({}), no quantity in {}.": "LOINC {} là một nhận định ({}), không phải đại lượng tính bằng {}.",
    "Take `unit` and `times` out, or look up the LOINC again.": "Bỏ `unit` và `times`, hoặc tra lại mã LOINC.",
    "For {} it is {}.": "Với {} thì mã là {}.",
    "Look up the LOINC for {}.": "Hãy tra mã LOINC cho {}.",
    "LOINC {} ({}) is for {}, the unit is {}.": "LOINC {} ({}) dùng cho {}, còn đơn vị ở đây là {}.",
    # check
    "there is no driver {}.": "không có driver {}.",
    "`labgateway check --drivers` lists them; one of your own is a folder under [gateway] drivers.": "`labgateway check "
    "--drivers` liệt kê chúng; driver riêng của bạn là một thư mục dưới [gateway] drivers.",
    "{} may be more than one driver.": "{} có thể là nhiều driver.",
    "Write one of: {}.": "Hãy viết một trong số: {}.",
    "the file is written for {}, and used by {}.": "tệp được viết cho {}, nhưng được dùng bởi {}.",
    'Write instrument = "{}" when its lines are right for that instrument.': 'Hãy viết instrument = "{}" khi các dòng đã '
    "đúng cho máy đó.",
    # difference
    "The file is written for {} instead of {}.": "Tệp được viết cho {} thay vì {}.",
    "{} stops here ({}) instead of being reported as {}.": "{} dừng ở đây ({}) thay vì được báo là {}.",
    "{} has no line any more: its results wait for a person.": "{} không còn dòng nào: kết quả của nó sẽ chờ người xử lý.",
    "{} was left out ({}) and is reported as {}.": "{} trước đây bị bỏ ({}), nay được báo là {}.",
    "{} is new and is reported as {}.": "{} là mới và được báo là {}.",
    "{} is new and is reported as {}, times {} in {}.": "{} là mới và được báo là {}, nhân {} ra {}.",
    "{} is new and stops here: {}.": "{} là mới và dừng ở đây: {}.",
    "{} is no longer left out: its results wait for a person.": "{} không còn bị bỏ: kết quả của nó sẽ chờ người xử lý.",
    "{} stops here for another reason: {}.": "{} dừng ở đây vì lý do khác: {}.",
    "{} has no line of its own any more; it was reported as {}.": "{} không còn dòng riêng; trước đây được báo là {}.",
    "{}: its specimen types are looked at in another order.": "{}: các loại mẫu được xét theo thứ tự khác.",
    "{} is reported as {} instead of {}.": "{} được báo là {} thay vì {}.",
    "{} is multiplied by {} instead of {}: every number changes.": "{} được nhân với {} thay vì {}: mọi con số thay đổi.",
    "{} goes out in {} instead of {}.": "{} được gửi đi với đơn vị {} thay vì {}.",
    "{} must come in {} instead of {}.": "{} phải đến với đơn vị {} thay vì {}.",
    "{} is shown with decimals: {} instead of {}.": "{} có số chữ số thập phân: {} thay vì {}.",
    "{} is held outside {} instead of {}.": "{} bị giữ lại khi nằm ngoài {} thay vì {}.",
    "{}: of a rerun with another value {} instead of {}.": "{}: khi chạy lại có giá trị khác, {} thay vì {}.",
    "{} is read with a decimal {} instead of a decimal {}.": "{} được đọc với dấu thập phân là {} thay vì {}.",
    "{} carries `{}` {} instead of {}.": "{} mang `{}` {} thay vì {}.",
    "Panel {} is new: {}.": "Nhóm {} là mới: {}.",
    "Panel {} is no longer known: its tests answer no order of it.": "Nhóm {} không còn: các xét nghiệm của nó không trả lời "
    "chỉ định nhóm nữa.",
    "Panel {} is no longer answered by {}.": "Nhóm {} không còn được trả lời bởi {}.",
    "Panel {} is answered by {} as well.": "Nhóm {} được trả lời thêm bởi {}.",
    "Panel {} names its tests in another order.": "Nhóm {} nêu các xét nghiệm theo thứ tự khác.",
    "For an order of {} the analyzer is asked for: {} instead of {}.": "Khi có chỉ định {}, máy được yêu cầu: {} thay vì {}.",
    "{} is held when the analyzer marks it {} instead of {}.": "{} bị giữ lại khi máy đánh dấu {} thay vì {}.",
    "{} goes out by itself within {} instead of {}.": "{} tự gửi đi khi nằm trong {} thay vì {}.",
    "{}: a difference from the patient's other value holds it: {} instead of {}.": "{}: khác với giá trị kia của người bệnh "
    "thì bị giữ lại: {} thay vì {}.",
    "{} is critical when it is {} instead of {}.": "{} là nguy kịch khi {} thay vì {}.",
    "{} goes out with the laboratory's ranges instead of the analyzer's: {}.": "{} được gửi với khoảng tham chiếu của phòng "
    "xét nghiệm thay vì của máy: {}.",
    "{} goes out with the analyzer's range again.": "{} lại được gửi với khoảng tham chiếu của máy.",
    "{} has no longer the range: {}.": "{} không còn khoảng tham chiếu: {}.",
    "{} has a new range: {}.": "{} có khoảng tham chiếu mới: {}.",
    "High and low are told by {} instead of {}, where there are ranges.": "Cao và thấp được xét theo {} thay vì {}, ở nơi có "
    "khoảng tham chiếu.",
    # holding, ranges, lint_rules
    "Write the lowest and the highest value that goes out by itself, such as [3, 6].": "Viết giá trị thấp nhất và cao nhất "
    "được tự gửi đi, ví dụ [3, 6].",
    "Write {{ percent = 50, days = 30 }}.": "Hãy viết {{ percent = 50, days = 30 }}.",
    "is no key of `delta`.": "không phải là khóa của `delta`.",
    "is below zero.": "nhỏ hơn không.",
    "Write how far a value may be from the one before.": "Viết giá trị được phép khác với lần trước bao nhiêu.",
    "Write for how many days the value before counts, 1 to {}: days = 30.": "Viết giá trị lần trước được tính trong bao "
    "nhiêu ngày, từ 1 đến {}: days = 30.",
    "must be a number of days.": "phải là số ngày.",
    "is one number for all tests of the file, whatever their units.": "là một con số cho mọi xét nghiệm của tệp, dù đơn vị "
    "khác nhau.",
    "Write `percent` here, and `absolute` in the lines.": "Viết `percent` ở đây, còn `absolute` trong từng dòng.",
    "says no difference.": "không nêu mức khác biệt.",
    "Add `percent` or `absolute`: {{ percent = 50, days = 30 }}.": "Thêm `percent` hoặc `absolute`: {{ percent = 50, days = 30 }}.",
    "Write {{ below = 2.5, above = 6.5 }}.": "Hãy viết {{ below = 2.5, above = 6.5 }}.",
    "is no key of `critical`.": "không phải là khóa của `critical`.",
    'Write "hold" (a person sees it first) or "note" (it goes out with a note).': 'Viết "hold" (có người xem trước) hoặc '
    '"note" (gửi đi kèm ghi chú).',
    "says no value.": "không nêu giá trị nào.",
    "Add `below` or `above`: {{ below = 2.5, above = 6.5 }}.": "Thêm `below` hoặc `above`: {{ below = 2.5, above = 6.5 }}.",
    "below {} and above {} are all values there are.": "dưới {} và trên {} là mọi giá trị có thể có.",
    "Write below = {}, above = {}.": "Hãy viết below = {}, above = {}.",
    "must be a day.": "phải là một ngày.",
    "Write it as year, month and day, such as 2026-01-31.": "Viết theo năm, tháng, ngày, ví dụ 2026-01-31.",
    'Write {{ sex = "F", from = "18y", low = 120, high = 155 }}.': 'Hãy viết {{ sex = "F", from = "18y", low = 120, high = 155 }}.',
    "may be meant for the same patient as the one in line {}.": "có thể áp dụng cho cùng người bệnh với dòng {}.",
    "Give them different `sex`, ages or days; `to` is the age at which a range ends.": "Cho chúng `sex`, tuổi hoặc ngày khác "
    "nhau; `to` là tuổi mà khoảng tham chiếu kết thúc.",
    "is no key of a range.": "không phải là khóa của khoảng tham chiếu.",
    'Write "F" or "M", or take it out.': 'Viết "F" hoặc "M", hoặc bỏ nó đi.',
    'Write low = 120, high = 155, or one of them, or text = "negative".': "Viết low = 120, high = 155, hoặc một trong hai, "
    'hoặc text = "negative".',
    "must say `low` and `high`, or `text`.": "phải nêu `low` và `high`, hoặc `text`.",
    "the lowest value {} is above the highest {}.": "giá trị thấp nhất {} lớn hơn giá trị cao nhất {}.",
    "Exchange them.": "Hãy đổi chỗ chúng.",
    "ends at {}, before it begins at {}.": "kết thúc ở {}, trước khi bắt đầu ở {}.",
    "Exchange `from` and `to`.": "Hãy đổi chỗ `from` và `to`.",
    "ends on {}, before it begins on {}.": "kết thúc ngày {}, trước khi bắt đầu ngày {}.",
    "Exchange `since` and `until`.": "Hãy đổi chỗ `since` và `until`.",
    'Write a number and d, w, m or y for days, weeks, months or years, such as "18y".': "Viết một số và d, w, m hoặc y cho "
    'ngày, tuần, tháng hoặc năm, ví dụ "18y".',
    "must be an age.": "phải là tuổi.",
    "nothing says which unit {} has; a range fits one unit only.": "không có chỗ nào nói đơn vị của {}; khoảng tham chiếu chỉ "
    "đúng với một đơn vị.",
    "nothing says which unit {} has; its numbers fit one unit only.": "không có chỗ nào nói đơn vị của {}; các con số chỉ "
    "đúng với một đơn vị.",
    "Write `unit` and `times`, or `comes`, in the line under [tests].": "Viết `unit` và `times`, hoặc `comes`, trong dòng dưới "
    "[tests].",
    "Write `unit` and `times`, or `comes`, in the same line.": "Viết `unit` và `times`, hoặc `comes`, trong cùng dòng.",
    "{} comes in several units: {}.": "{} có nhiều đơn vị: {}.",
    "Give all its lines one `unit`; a range fits one unit only.": "Cho mọi dòng của nó cùng một `unit`; khoảng tham chiếu chỉ "
    "đúng với một đơn vị.",
    "is of no use without [ranges].": "vô ích khi không có [ranges].",
    "Write [ranges], or take it out.": "Hãy viết [ranges], hoặc bỏ nó đi.",
    "{} lies outside `sane`, which holds such a value already.": "{} nằm ngoài `sane`, vốn đã giữ lại giá trị như vậy.",
    "Correct one of the two.": "Hãy sửa một trong hai.",
    "Write what the EMR calls the test, as `emr` does.": "Hãy viết tên xét nghiệm trong EMR, như ở `emr`.",
    "{} is computed from now on: {} = {}, in {}.": "{} từ nay được tính: {} = {}, đơn vị {}.",
    "{} is no longer computed; it was {} = {}.": "{} không còn được tính; trước đây là {} = {}.",
    "{} is computed as {} instead of {}.": "{} được tính theo {} thay vì {}.",
    "{} takes other units of what other analyzers measure: {} instead of {}.": "{} lấy đơn vị khác của kết quả máy khác: {} "
    "thay vì {}.",
    "{} may come in {} besides what the driver says, instead of {}.": "{} có thể đến với {} ngoài những gì driver nêu, thay vì {}.",
    "The flag {} is known as {} instead of {}.": "Cờ {} được hiểu là {} thay vì {}.",
    "The status {} means {} instead of {}.": "Trạng thái {} có nghĩa là {} thay vì {}.",
    "Specimens {} are control material: lot {}, level {}.": "Mẫu {} là mẫu nội kiểm: lô {}, mức {}.",
    "Specimens {} are no longer control material.": "Mẫu {} không còn là mẫu nội kiểm.",
    # control
    'Write {{ lot = "44231", level = "1" }}, or {{}}.': 'Hãy viết {{ lot = "44231", level = "1" }}, hoặc {{}}.',
    "is no key of a control.": "không phải là khóa của mẫu nội kiểm.",
    "is no regular expression.": "không phải là biểu thức chính quy.",
    "Write the id, or one such as 'QC-.*'.": "Hãy viết mã mẫu, hoặc biểu thức như 'QC-.*'.",
    "fits any specimen id: patients' results would never leave.": "khớp với mọi mã mẫu: kết quả người bệnh sẽ không bao giờ "
    "được gửi.",
    "Write what only control material is called.": "Hãy viết mã chỉ dành cho mẫu nội kiểm.",
    # beyond
    "is no key of [words].": "không phải là khóa của [words].",
    'Write the unit as the analyzer sends it, "" for none: {{ NEW = "g/L" }}.': 'Viết đơn vị đúng như máy gửi, "" nếu không có: '
    '{{ NEW = "g/L" }}.',
    "must be a unit.": "phải là một đơn vị.",
    'Write what it means, such as "high", "low", "abnormal" or "doubtful".': 'Viết nó có nghĩa là gì, ví dụ "high", "low", '
    '"abnormal" hoặc "doubtful".',
    "must be a word.": "phải là một từ.",
    'Write {} = {{ WORD = "..." }}.': 'Hãy viết {} = {{ TỪ = "..." }}.',
    # formula, computed, lint_computed
    "is longer than {} characters.": "dài hơn {} ký tự.",
    "cannot be read from {} on.": "không đọc được từ {} trở đi.",
    "misses a closing parenthesis.": "thiếu dấu ngoặc đóng.",
    "ends too early.": "kết thúc quá sớm.",
    'Write {{ emr = "LDLC", formula = "CHOL - HDL - TG / 2.2", unit = "mmol/L", decimals = 2 }}.': 'Hãy viết {{ emr = "LDLC", '
    'formula = "CHOL - HDL - TG / 2.2", unit = "mmol/L", decimals = 2 }}.',
    'Write how it is computed: formula = "CHOL - HDL - TG / 2.2".': 'Hãy viết cách tính: formula = "CHOL - HDL - TG / 2.2".',
    'Write the unit of the result; of a plain ratio unit = "1".': 'Hãy viết đơn vị của kết quả; với tỷ số thì unit = "1".',
    "Write how many digits stand behind the point: decimals = 2.": "Hãy viết số chữ số sau dấu thập phân: decimals = 2.",
    "Use tests, numbers with a point, + - * / and parentheses; other names than letters and digits in '...'.": "Chỉ dùng xét "
    "nghiệm, số với dấu chấm, + - * / và dấu ngoặc; tên có ký tự khác chữ và số thì viết trong '...'.",
    "names no test.": "không nêu xét nghiệm nào.",
    "Write the EMR's names of the tests it is computed from.": "Hãy viết tên trong EMR của các xét nghiệm dùng để tính.",
    "names several tests.": "nêu nhiều xét nghiệm.",
    "Write one; a further one needs a line of its own.": "Chỉ viết một; xét nghiệm khác cần một dòng riêng.",
    "must hold a unit for each test.": "phải có một đơn vị cho mỗi xét nghiệm.",
    'Write {{ TG = "mmol/L" }}.': 'Hãy viết {{ TG = "mmol/L" }}.',
    "need each other: {}.": "cần lẫn nhau: {}.",
    "Let each formula begin with tests that an analyzer measures.": "Mỗi công thức phải bắt đầu từ xét nghiệm mà máy đo được.",
    "{} is answered by {} already.": "{} đã có kết quả từ {}.",
    "Give it an EMR test of its own, or take one of the two out.": "Cho nó một xét nghiệm EMR riêng, hoặc bỏ một trong hai.",
    "divides by zero.": "chia cho số không.",
    "Correct the divisor.": "Hãy sửa số chia.",
    "{} is measured by another analyzer.": "{} được đo bởi máy khác.",
    'Say in which unit the EMR gets it: units = {{ {} = "..." }}.': 'Hãy ghi đơn vị mà EMR nhận: units = {{ {} = "..." }}.',
    "no line answers {}.": "không có dòng nào cho {}.",
    "Write the EMR's name of the test, as `emr` of its line does.": "Hãy viết tên xét nghiệm trong EMR, như ở `emr` của dòng.",
    "{} does not stand in the formula.": "{} không có trong công thức.",
    "Take it out, or correct its name.": "Hãy bỏ nó đi, hoặc sửa tên.",
    "nothing says which unit {} has; numbers of unknown units make no value.": "không có chỗ nào nói đơn vị của {}; số không "
    "rõ đơn vị thì không tính được.",
    "Write `unit` and `times`, or `comes`, in its line; the same in all of them.": "Viết `unit` và `times`, hoặc `comes`, trong "
    "dòng của nó; giống nhau ở mọi dòng.",
    "Bring them to one unit, or correct the formula.": "Đưa chúng về cùng một đơn vị, hoặc sửa công thức.",
    "what is computed of {} is no quantity in {}.": "giá trị tính từ {} không phải là đại lượng theo {}.",
    'Write unit = "{}", or correct the formula.': 'Hãy viết unit = "{}", hoặc sửa công thức.',
    "{} and {} cannot be added or subtracted.": "{} và {} không thể cộng hay trừ với nhau.",
    # accept, undo
    "{} agrees.": "{} đồng ý.",
    "A second person must accept the same file before it is in use.": "Người thứ hai phải chấp nhận đúng tệp này thì nó mới "
    "được dùng.",
    "{} is in use as version {}; the gateway takes it over by itself.": "{} được dùng với phiên bản {}; gateway sẽ tự nhận.",
    "{} is version {} again; the gateway takes it over by itself.": "{} trở lại phiên bản {}; gateway sẽ tự nhận.",
}
_PHRASES = {
    "the unit that comes": "đơn vị như máy gửi",
    "the driver's unit": "đơn vị của driver",
    "as many as come": "giữ như máy gửi",
    "no limits": "không giới hạn",
    "with nothing": "bằng không cờ nào",
    "no difference": "không mức nào",
    "never": "không bao giờ",
    "none": "không có",
    "no unit": "không có đơn vị",
    "the laboratory's ranges": "khoảng tham chiếu của phòng xét nghiệm",
    "the analyzer": "máy",
    "the newest stands": "lấy giá trị mới nhất",
    "a person decides": "người quyết định",
    "comma": "dấu phẩy",
    "point": "dấu chấm",
    "nothing": "không gì cả",
    "what the lines say": "theo các dòng",
}
"""What may stand where a value goes and is no value."""
LANGUAGES = ("en", "vi")

_HOLE = r"((?:(?!\. [A-Z]).)+?)"
_SPLIT = re.compile(r"(?<=[.?]) ")


def say(text: str, language: str) -> str:
    """A text in the language; as it is where the language is English, or the text is not known here."""
    return text if language != "vi" else translated(text) or text


def translated(text: str) -> str | None:
    """A text in Vietnamese, None when one of its sentences is not known here."""
    for pattern, vietnamese in _patterns():
        if found := pattern.fullmatch(text):
            return vietnamese.format(*(_PHRASES.get(value, value) for value in found.groups()))
    for cut in reversed([found.start() for found in _SPLIT.finditer(text)]):
        first = translated(text[:cut])
        if first is not None and (rest := translated(text[cut + 1 :])) is not None:
            return f"{first} {rest}"
    return None


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Every template as a pattern, the one with the most words of its own first."""
    templates = sheet_vietnamese.SENTENCES | _SENTENCES | _REASONS
    longest = sorted(templates, key=lambda one: -len(one.replace("{}", "")))
    return tuple((_pattern(english), templates[english]) for english in longest)


def _pattern(english: str) -> re.Pattern[str]:
    parts = (re.escape(part.format()) for part in re.split(r"(?<!\{)\{\}", english))
    return re.compile(_HOLE.join(parts), re.DOTALL)


_REASONS: dict[str, str] = {
    Reason.UNMAPPED.what: "Tệp ánh xạ không có dòng nào cho mã này.",
    Reason.UNMAPPED.cure: "Thêm một dòng dưới [tests], hoặc ghi mã dưới [leave_out] kèm lý do; kết quả sẽ tự chạy tiếp.",
    Reason.UNIT_CHANGED.what: "Đơn vị khác với đơn vị khai báo trong tệp ánh xạ.",
    Reason.UNIT_CHANGED.cure: "Đặt lại máy, hoặc sửa `comes` và `times` trong tệp ánh xạ; rồi thử lại.",
    Reason.NOT_A_DECIMAL.what: "Giá trị không phải là số thường, nên không nhân được với hệ số.",
    Reason.NOT_A_DECIMAL.cure: "Đọc trong bản tin rồi quyết định; giá trị chữ cần một dòng không có `times`.",
    Reason.TWO_READINGS.what: "Số này có thể đọc theo hai cách: dấu phẩy hay dấu chấm là dấu thập phân hoặc dấu phân cách hàng nghìn.",
    Reason.TWO_READINGS.cure: "Xem lại trên máy; ghi `decimal_comma` trong tệp ánh xạ, hoặc cho đi nguyên văn, hoặc từ chối.",
    Reason.NOT_SANE.what: "Giá trị nằm ngoài giới hạn `sane` của tệp ánh xạ.",
    Reason.NOT_SANE.cure: "Kiểm tra mẫu; cho đi nếu kết quả đúng, từ chối nếu sai.",
    Reason.FLAG_HOLDS.what: "Máy đánh dấu kết quả bằng một cờ mà tệp ánh xạ giữ lại.",
    Reason.FLAG_HOLDS.cure: "Xem lại mẫu và máy; cho đi nếu kết quả đúng, chạy lại hoặc từ chối nếu sai.",
    Reason.OUT_OF_LIMITS.what: "Giá trị nằm ngoài giới hạn mà kết quả được tự động gửi đi.",
    Reason.OUT_OF_LIMITS.cure: "Đối chiếu với mẫu và người bệnh; cho đi nếu kết quả đúng, từ chối nếu sai.",
    Reason.CRITICAL.what: "Giá trị nguy kịch, và tệp ánh xạ muốn có người xem trước.",
    Reason.CRITICAL.cure: "Kiểm tra, báo ngay cho khoa, rồi cho kết quả đi.",
    Reason.DELTA.what: "Giá trị khác với giá trị kia của người bệnh nhiều hơn mức tệp ánh xạ cho phép.",
    Reason.DELTA.cure: "Kiểm tra ống mẫu và người bệnh có khớp nhau không; cho đi nếu kết quả đúng, từ chối nếu sai.",
    Reason.CONTROL_OR_PATIENT.what: "Theo dạng của nó, mã mẫu này là mẫu nội kiểm (tệp ánh xạ hoặc driver), nhưng EMR có chỉ định cho nó.",
    Reason.CONTROL_OR_PATIENT.cure: "Sửa [control] trong tệp ánh xạ (hoặc driver), hoặc sửa chỉ định; sửa tệp xong kết quả tự chạy tiếp.",
    Reason.NOT_COMPUTED.what: "Giá trị tính toán được chỉ định, nhưng các kết quả dùng để tính chưa cho phép.",
    Reason.NOT_COMPUTED.cure: "Xem các kết quả mà nó cần, như chi tiết nêu; khi đủ điều kiện nó sẽ tự được tính.",
    Reason.CODE_UNKNOWN.what: "Máy gửi một mã xét nghiệm mà driver không khai báo.",
    Reason.UNIT_UNKNOWN.what: "Máy gửi một đơn vị mà driver không khai báo cho xét nghiệm này.",
    Reason.FLAG_UNKNOWN.what: "Máy gửi một cờ mà driver không khai báo.",
    Reason.STATUS_UNKNOWN.what: "Máy gửi một trạng thái kết quả mà driver không khai báo.",
    Reason.SEVERAL_TARGETS.what: "Tệp ánh xạ nêu nhiều xét nghiệm EMR cho mã này và không đúng một xét nghiệm được chỉ định.",
    Reason.NO_ORDER.what: "Không có chỉ định nào với mã mẫu này trong thời gian chờ.",
    Reason.NOT_ORDERED.what: "Đã đo xét nghiệm nhưng không ai chỉ định trên mẫu này.",
}
