"""The words of the findings about a line: what is wrong, why we think so, what to do. English and Vietnamese."""
# ruff: noqa: E501 - sentences in two languages

from __future__ import annotations

from labgateway.doctor.findings import Words

WORDS: dict[str, dict[str, Words]] = {
    "store_broken": {
        "en": ("The store cannot be trusted any more.", "The gateway says so and acknowledges nothing.",
               "Look at the disk (dmesg, smartctl), then restart the service."),
        "vi": ("Kho dữ liệu không còn tin cậy được.", "Cổng kết nối báo như vậy và không xác nhận gì nữa.",
               "Kiểm tra ổ đĩa (dmesg, smartctl), rồi khởi động lại dịch vụ."),
    },
    "port_shut": {
        "en": ("Our port {port} is not open, so the instrument cannot call.", "{trouble}",
               "Do what that says; `ss -ltnp` shows who holds a port. Then `systemctl reload labgateway`."),
        "vi": ("Cổng {port} của chúng ta chưa mở nên máy không gọi vào được.", "{trouble}",
               "Làm theo lời báo đó; `ss -ltnp` cho biết ai đang giữ cổng. Sau đó `systemctl reload labgateway`."),
    },
    "both_listen": {
        "en": ("We wait for the instrument's call, and the instrument waits for ours.",
               "Nobody called in {seconds} s, and {host} itself takes calls on port {port}.",
               'Set the instrument to be the client, or write line = {{ kind = "tcp", host = "{host}", port = {port} }}.'),
        "vi": ("Chúng ta chờ máy gọi, còn máy cũng chờ chúng ta gọi.",
               "Không ai gọi trong {seconds} giây, và chính {host} nhận cuộc gọi ở cổng {port}.",
               'Đặt máy làm client, hoặc viết line = {{ kind = "tcp", host = "{host}", port = {port} }}.'),
    },
    "strangers": {
        "en": ("Somebody calls, and is refused because the address is not in `allow`.",
               "{refused} calls were turned away; the last: {last}. allow is: {allow}.",
               "If that is the instrument, add its address to `allow` of this line and reload."),
        "vi": ("Có nơi gọi vào nhưng bị từ chối vì địa chỉ không có trong `allow`.",
               "{refused} cuộc gọi bị từ chối; lần cuối: {last}. allow đang là: {allow}.",
               "Nếu đó là máy xét nghiệm, thêm địa chỉ của máy vào `allow` của đường truyền này rồi nạp lại."),
    },
    "occupied": {
        "en": ("A second caller was turned away, because the line is in use.", "{refused} calls; the last: {last}.",
               "Two instruments on one port need a line each. One instrument with two connections needs `connections = 2`."),
        "vi": ("Một nơi gọi thứ hai bị từ chối vì đường truyền đang bận.", "{refused} cuộc gọi; lần cuối: {last}.",
               "Hai máy chung một cổng thì cần mỗi máy một đường. Một máy mở hai kết nối thì đặt `connections = 2`."),
    },
    "turned_away": {
        "en": ("Callers were turned away.", "{refused} calls; the last: {last}.",
               "The gateway holds as many connections as it may: find who opens so many (`ss -tn`)."),
        "vi": ("Có cuộc gọi bị từ chối.", "{refused} cuộc gọi; lần cuối: {last}.",
               "Cổng kết nối đã giữ đủ số kết nối cho phép: tìm nơi mở quá nhiều (`ss -tn`)."),
    },
    "nobody_calls": {
        "en": ("Nobody calls.", "In {seconds} s no call came to port {port}, and none was turned away.",
               "At the instrument: is the host set to this machine's address and port {port}, is it the client, is the host on? "
               "Is the network cable in, and may the firewall pass (`ss -ltn`, ping)?"),
        "vi": ("Không có máy nào gọi vào.", "Trong {seconds} giây không có cuộc gọi nào tới cổng {port}, cũng không có cuộc nào bị từ chối.",
               "Ở máy xét nghiệm: địa chỉ máy chủ có đúng máy này và cổng {port} không, máy có phải client không, đã bật truyền chưa? "
               "Dây mạng đã cắm chưa, tường lửa có cho qua không (`ss -ltn`, ping)?"),
    },
    "both_call": {
        "en": ("We call the instrument, and the instrument calls us.",
               "Nothing takes our call at {host}:{port}, but {host} called port {port} here while we watched.",
               'Write line = {{ kind = "tcp-listen", port = {port}, allow = ["{host}"] }}, or set the instrument to be the server.'),
        "vi": ("Chúng ta gọi máy, còn máy lại gọi chúng ta.",
               "Không gì nhận cuộc gọi của ta ở {host}:{port}, nhưng {host} đã gọi vào cổng {port} ở đây trong lúc theo dõi.",
               'Viết line = {{ kind = "tcp-listen", port = {port}, allow = ["{host}"] }}, hoặc đặt máy làm server.'),
    },
    "nobody_listens": {
        "en": ("The instrument is reachable, but nothing takes calls on port {port}.", "{host} refused the connection.",
               "At the instrument: is host communication on, is it the server, is the port {port}? If it is a client, use tcp-listen."),
        "vi": ("Liên lạc được với máy nhưng cổng {port} không nhận cuộc gọi.", "{host} từ chối kết nối.",
               "Ở máy: đã bật truyền dữ liệu chưa, có phải server không, cổng có phải {port} không? Nếu máy là client, dùng tcp-listen."),
    },
    "no_such_name": {
        "en": ("The name {host} is not known.", "{trouble}.", "Write the instrument's address (10.…) instead of its name."),
        "vi": ("Không biết tên {host}.", "{trouble}.", "Viết địa chỉ của máy (10.…) thay cho tên."),
    },
    "cannot_connect": {
        "en": ("The instrument cannot be reached.", "Calling {host}:{port}: {trouble}.",
               "Is it switched on, is the network cable in, is the address right (ping {host}), does a firewall stand between?"),
        "vi": ("Không liên lạc được với máy.", "Gọi {host}:{port}: {trouble}.",
               "Máy đã bật chưa, dây mạng đã cắm chưa, địa chỉ có đúng không (ping {host}), có tường lửa ở giữa không?"),
    },
    "serial_shut": {
        "en": ("The serial port cannot be used.", "{trouble}.",
               "Do what that says. `ls -l /dev/serial/by-id` shows what is plugged in; no terminal program may hold the port."),
        "vi": ("Không dùng được cổng nối tiếp.", "{trouble}.",
               "Làm theo lời báo đó. `ls -l /dev/serial/by-id` cho biết đang cắm gì; không để chương trình khác giữ cổng."),
    },
    "folder_trouble": {
        "en": ("The folder cannot be worked on.", "{trouble}.", "Does the share stand, and may the service's user read and move files there?"),
        "vi": ("Không làm việc được với thư mục.", "{trouble}.", "Thư mục chia sẻ còn không, và dịch vụ có quyền đọc và chuyển tệp ở đó không?"),
    },
    "serial_silent": {
        "en": ("The port is open, and nothing comes.", "No byte in {seconds} s from {device}.",
               "Is the cable at the instrument's host port (not the printer's), crossed or straight as its manual says, is host "
               "communication on? Let it send one result. A null-modem adapter decides it: with it or without it."),
        "vi": ("Cổng đã mở nhưng không có gì tới.", "Không có byte nào trong {seconds} giây từ {device}.",
               "Dây có cắm đúng cổng host của máy (không phải cổng máy in), loại chéo hay thẳng đúng như sách máy, đã bật truyền chưa? "
               "Cho máy gửi một kết quả. Thử có và không có đầu null-modem."),
    },
    "connected_silent": {
        "en": ("The instrument is connected and says nothing.", "A connection stands, and no byte came in {seconds} s.",
               "Let it send one result. If it stays silent: is automatic transmission on? Behind a serial converter: is the serial cable in?"),
        "vi": ("Máy đã kết nối nhưng không gửi gì.", "Kết nối còn đó, không có byte nào trong {seconds} giây.",
               "Cho máy gửi một kết quả. Nếu vẫn im: đã bật tự động truyền chưa? Nếu qua bộ chuyển nối tiếp: dây nối tiếp đã cắm chưa?"),
    },
    "not_an_instrument": {
        "en": ("Who calls here is no instrument.", "What came is {seems}.",
               "Find who calls this port (`ss -tnp`): a browser, a scanner, or an instrument set to encrypt. Narrow `allow`."),
        "vi": ("Nơi gọi vào không phải máy xét nghiệm.", "Dữ liệu tới là {seems}.",
               "Tìm nơi gọi cổng này (`ss -tnp`): trình duyệt, công cụ quét, hay máy đang đặt mã hóa. Thu hẹp `allow`."),
    },
    "wrong_speed": {
        "en": ("The serial settings are wrong: baud, parity or bits.", "{percent} % of {bytes} bytes belong to no text ({setting}).",
               "Read the settings in the instrument's host menu, or let `labgateway doctor {name} --try` try the usual ones."),
        "vi": ("Cài đặt nối tiếp sai: tốc độ baud, parity hoặc số bit.", "{percent} % trong {bytes} byte không phải chữ ({setting}).",
               "Xem cài đặt trong menu host của máy, hoặc chạy `labgateway doctor {name} --try` để thử các cài đặt thường gặp."),
    },
    "speed_found": {
        "en": ("The serial settings are wrong; others fit.", "With {setting} came garbage, with {best} an instrument's talk.",
               "Write into the line of config.toml: {best}. Then reload."),
        "vi": ("Cài đặt nối tiếp sai; có cài đặt khác khớp.", "Với {setting} chỉ có rác, với {best} thì đọc được lời máy.",
               "Ghi vào dòng line của config.toml: {best}. Rồi nạp lại."),
    },
    "garbage": {
        "en": ("What comes is no text of an instrument.", "{percent} % of {bytes} bytes belong to no text.",
               "Behind a serial converter: set its baud, parity and bits as the instrument has them. Else: does the line encrypt?"),
        "vi": ("Dữ liệu tới không phải lời của máy xét nghiệm.", "{percent} % trong {bytes} byte không phải chữ.",
               "Nếu qua bộ chuyển nối tiếp: đặt baud, parity, bit của nó giống máy. Nếu không: đường truyền có mã hóa không?"),
    },
    "wrong_protocol": {
        "en": ("The instrument speaks {seems}; its driver {driver} expects {protocol}.", "By the shape of {bytes} bytes that came.",
               "Set the instrument's host protocol to {protocol}, or name a driver for {seems} (`labgateway check --drivers`)."),
        "vi": ("Máy nói {seems}; driver {driver} lại chờ {protocol}.", "Theo hình dạng của {bytes} byte đã tới.",
               "Đặt giao thức host của máy là {protocol}, hoặc chọn driver nói {seems} (`labgateway check --drivers`)."),
    },
    "no_checksums": {
        "en": ("The frames have no checksum, so every one is refused.", "None of {frames} frames ends with two hexadecimal digits.",
               "Switch the checksum on at the instrument (often: ASTM E1381, checksum yes). Without it a damaged value would not be noticed."),
        "vi": ("Các khung không có checksum nên đều bị từ chối.", "Không khung nào trong {frames} khung kết thúc bằng hai chữ số hex.",
               "Bật checksum ở máy (thường là ASTM E1381, checksum yes). Không có nó thì giá trị bị hỏng sẽ không bị phát hiện."),
    },
    "bad_checksums": {
        "en": ("Every checksum is wrong.", "{bad} of {frames} frames; so it is not the cable, it is a setting.",
               "Data bits or parity (7 for 8), or the instrument counts its checksum otherwise: record it with `labgateway tap {name} "
               "--scrub -o FILE` and send it to the developers."),
        "vi": ("Checksum nào cũng sai.", "{bad} trên {frames} khung; vậy không phải do dây mà do cài đặt.",
               "Số bit hoặc parity (7 thay vì 8), hoặc máy tính checksum kiểu khác: ghi lại bằng `labgateway tap {name} --scrub -o TỆP` "
               "và gửi cho nhóm phát triển."),
    },
    "some_bad_checksums": {
        "en": ("The line damages frames.", "{bad} of {frames} frames had a wrong checksum and were asked for again; none was taken damaged.",
               "Check the serial cable: length (15 m at most), plugs, ground, mains cables beside it. A lower baud helps."),
        "vi": ("Đường truyền làm hỏng khung.", "{bad} trên {frames} khung sai checksum và đã được yêu cầu gửi lại; không nhận khung hỏng nào.",
               "Kiểm tra dây nối tiếp: độ dài (tối đa 15 m), đầu nối, tiếp đất, dây điện chạy cạnh. Giảm baud cũng giúp."),
    },
    "nak_loop": {
        "en": ("The gateway refuses what comes, again and again.", "{naks} refusals (NAK) for {frames} frames.",
               "See the frames with `labgateway tap {name}`: an L record missing, numbers that do not count up, a text of forbidden characters. "
               "If the store is full or locked, `labgateway status` says so."),
        "vi": ("Cổng kết nối từ chối liên tục.", "{naks} lần từ chối (NAK) cho {frames} khung.",
               "Xem các khung bằng `labgateway tap {name}`: thiếu bản ghi L, số khung không tăng, có ký tự cấm. "
               "Nếu kho đầy hoặc bị khóa, `labgateway status` sẽ nói."),
    },
    "nak_to_enq": {
        "en": ("The gateway asks the instrument to wait.", "{naks} enquiries were answered with NAK.",
               "The store cannot take more: `labgateway status`, and free disk space. The instrument keeps its results meanwhile."),
        "vi": ("Cổng kết nối đang bảo máy chờ.", "{naks} lần hỏi (ENQ) được trả lời NAK.",
               "Kho không nhận thêm được: xem `labgateway status` và giải phóng ổ đĩa. Trong lúc đó máy vẫn giữ kết quả."),
    },
    "contention": {
        "en": ("Both sides want to send at the same moment, again and again.", "{contentions} times in {seconds} s.",
               'The instrument does not give way or go first as LIS01-A2 8.2.7 says. Write orders = "off" for it until its host settings '
               "are right, and look for a second host on the same cable."),
        "vi": ("Hai bên cứ cùng muốn gửi một lúc.", "{contentions} lần trong {seconds} giây.",
               'Máy không nhường và cũng không gửi trước như LIS01-A2 8.2.7. Đặt orders = "off" cho máy này đến khi cài đặt host đúng, '
               "và xem có máy chủ thứ hai trên cùng dây không."),
    },
    "enq_only": {
        "en": ("The instrument asks to send and does not hear our answer.", "{enquiries} enquiries (ENQ), each answered, and no frame followed.",
               "The wire towards the instrument is open: check pin 2/3 of the cable, or the converter's direction. Flow control: set it to none."),
        "vi": ("Máy xin gửi nhưng không nghe câu trả lời.", "{enquiries} lần hỏi (ENQ), đều đã trả lời, nhưng không có khung nào theo sau.",
               "Dây chiều tới máy bị hở: kiểm tra chân 2/3, hoặc chiều của bộ chuyển. Điều khiển luồng: đặt none."),
    },
    "ack_not_taken": {
        "en": ("The instrument sends the same again although it was acknowledged.", "{repeats} repeats without any refusal of ours.",
               "It does not take our acknowledgement: in HL7 it may want another form (the driver's [ack]); in ASTM the wire towards it fails. "
               "Nothing is lost or doubled meanwhile."),
        "vi": ("Máy gửi lại y như cũ dù đã được xác nhận.", "{repeats} lần lặp mà ta không hề từ chối.",
               "Máy không nhận lời xác nhận: với HL7 có thể cần dạng khác ([ack] của driver); với ASTM dây chiều tới máy bị lỗi. "
               "Trong lúc đó không mất và không nhân đôi gì."),
    },
    "all_parks": {
        "en": ("Everything from this instrument is parked.", "{parks}", "Run `labgateway check`, mend what it names; then it goes on by itself."),
        "vi": ("Mọi kết quả của máy này đều bị giữ lại.", "{parks}", "Chạy `labgateway check`, sửa chỗ nó nêu; sau đó tự chạy tiếp."),
    },
    "another_driver": {
        "en": ("Another instrument stands at this line than is configured.", "It calls itself {sender}; {others} knows that, {driver} does not.",
               'Check the cabling; if it is right, write driver = "{others}" and give it its own mapping file.'),
        "vi": ("Ở đầu đường truyền là máy khác với cấu hình.", "Máy tự xưng {sender}; {others} biết tên đó, {driver} thì không.",
               'Kiểm tra dây; nếu đúng, viết driver = "{others}" và dùng tệp mapping riêng.'),
    },
    "sender_unknown": {
        "en": ("The instrument calls itself by a name its driver does not know.", "It says {sender}.",
               "If it is the right instrument, add the name to [recognise] sender of a driver of your own (docs/drivers.md)."),
        "vi": ("Máy tự xưng bằng tên mà driver không biết.", "Máy nói {sender}.",
               "Nếu đúng máy, thêm tên vào [recognise] sender trong driver riêng của bạn (docs/drivers.md)."),
    },
    "no_specimen": {
        "en": ("Results come without a specimen id.", "{empty} of {results} results have none where {driver} looks for it.",
               "Does the instrument read the barcode, and is it set to send it as sample id? If the id stands elsewhere in the message "
               "(`labgateway tap {name}`), it is the driver's [where] specimen."),
        "vi": ("Kết quả tới không có mã bệnh phẩm.", "{empty} trên {results} kết quả không có mã ở chỗ {driver} tìm.",
               "Máy có đọc mã vạch không, có đặt gửi mã làm sample id không? Nếu mã nằm chỗ khác trong bản tin "
               "(`labgateway tap {name}`), sửa [where] specimen của driver."),
    },
    "encoding": {
        "en": ("Letters come in another encoding than is declared.", "{marked} messages have bytes that {encoding} does not know.",
               "Set [line] encoding of the driver: for Vietnamese instruments utf-8, cp1258, tcvn3 or vni. Try with `labgateway decode`."),
        "vi": ("Chữ tới bằng bảng mã khác với khai báo.", "{marked} bản tin có byte mà {encoding} không biết.",
               "Đặt [line] encoding của driver: máy dùng tiếng Việt thường là utf-8, cp1258, tcvn3 hoặc vni. Thử bằng `labgateway decode`."),
    },
    "clock": {
        "en": ("The instrument's clock is off by {off}.", "Its messages say another time than it is here.",
               "Set date, time and time zone at the instrument; or the clock of this machine (timedatectl), if that is the wrong one."),
        "vi": ("Đồng hồ của máy lệch {off}.", "Giờ trong bản tin khác giờ ở đây.",
               "Đặt lại ngày, giờ, múi giờ ở máy; hoặc đồng hồ của máy chủ này (timedatectl) nếu nó mới là cái sai."),
    },
    "one_reason": {
        "en": ("All its results wait for one and the same reason.", "{count} of {total} results of the last day: {reason}", "{cure}"),
        "vi": ("Mọi kết quả đều bị giữ vì cùng một lý do.", "{count} trên {total} kết quả trong ngày qua: {reason}", "{cure}"),
    },
    "well": {
        "en": ("The line works.", "{messages} messages, {frames} frames, {results} results in {seconds} s; nothing is wrong with them.",
               "Nothing to do."),
        "vi": ("Đường truyền hoạt động tốt.", "{messages} bản tin, {frames} khung, {results} kết quả trong {seconds} giây; không có gì sai.",
               "Không cần làm gì."),
    },
    "nothing_seen": {
        "en": ("Nothing is wrong, and nothing came.", "Watched for {seconds} s.",
               "Watch longer (--seconds 120) and let the instrument send a result meanwhile."),
        "vi": ("Không thấy gì sai, và cũng không có gì tới.", "Đã theo dõi {seconds} giây.",
               "Theo dõi lâu hơn (--seconds 120) và cho máy gửi một kết quả trong lúc đó."),
    },
}  # fmt: skip
