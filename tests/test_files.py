"""What files over a WebSocket read and write, in both roles."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import shutil
from array import array
from io import UnsupportedOperation

import pytest
from tools.endpoint import wait_for_messages
from tools.tasks import interrupt, start, start_waiting
from tools.timing import let_hub_run
from tools.wire import BINARY, CONTINUATION, TEXT

from geventws.exceptions import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK
from geventws.files import BinaryFile, TextFile
from geventws.protocol import HELD_LIMIT
from geventws.rawfile import WebSocketIO
from geventws.websocket import State


@pytest.fixture
def transport():
    """One is enough here: files know nothing of it."""
    return "unix"


class TestMaking:
    @pytest.mark.parametrize(
        ("mode", "options", "kind", "reads", "writes", "name"),
        [
            ("rwb", {}, BinaryFile, True, True, "rwb"),
            ("wbr", {}, BinaryFile, True, True, "rwb"),
            ("rb", {}, BinaryFile, True, False, "rb"),
            ("b", {}, BinaryFile, True, False, "rb"),
            ("wb", {"buffering": 100}, BinaryFile, False, True, "wb"),
            ("wb", {"buffering": 0}, WebSocketIO, False, True, "wb"),
            ("rwb", {"buffering": 0}, WebSocketIO, True, True, "rwb"),
            ("rw", {}, TextFile, True, True, "rw"),
            ("r", {"encoding": "latin-1", "errors": "replace", "newline": ""}, TextFile, True, False, "r"),
            ("w", {"buffering": 1}, TextFile, False, True, "w"),
        ],
    )
    def test_the_mode_says_what_it_is(self, pair, mode, options, kind, reads, writes, name):
        file = pair[0].makefile(mode, **options)
        assert type(file) is kind
        assert (file.readable(), file.writable(), file.mode) == (reads, writes, name)

    def test_it_reads_and_writes_bytes_unless_told_otherwise(self, pair):
        assert pair[0].makefile().mode == "rwb"

    @pytest.mark.parametrize(
        ("mode", "options"),
        [
            ("a", {}),
            ("rr", {}),
            ("r+", {}),
            ("r", {"buffering": 0}),
            ("r", {"newline": "\n\n"}),
            ("rb", {"encoding": "utf-8"}),
            ("rb", {"errors": "strict"}),
            ("rb", {"newline": ""}),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, pair, mode, options):
        with pytest.raises(ValueError):
            pair[0].makefile(mode, **options)

    @pytest.mark.parametrize("options", [{"encoding": "utf-seven"}, {"errors": "ignored"}])
    def test_unknown_codecs_are_refused(self, pair, options):
        with pytest.raises(LookupError):
            pair[0].makefile("r", **options)

    @pytest.mark.parametrize("file", [("rwb", 0), ("rwb", -1), ("rw", -1)])
    def test_it_is_a_stream_and_no_descriptor(self, pair, file):
        ws, _ = pair
        file = ws.makefile(*file)
        assert (file.seekable(), file.isatty(), file.closed) == (False, False, False)
        with pytest.raises(UnsupportedOperation):
            file.fileno()
        with pytest.raises(UnsupportedOperation):
            file.seek(0)
        assert file.websocket is ws

    def test_its_name_is_the_url_or_the_peers_address(self, make_pair):
        ws, _ = make_pair(url="ws://localhost/chat")
        assert ws.makefile().name == "ws://localhost/chat"
        assert "rwb" in repr(ws.makefile())
        ws, _ = make_pair()
        assert ws.makefile("r").name == str(ws.remote_address)

    @pytest.mark.parametrize(("mode", "buffering"), [("b", 0), ("b", -1), ("", -1)])
    def test_only_what_it_is_for_can_be_done(self, pair, mode, buffering):
        nothing = b"" if mode else ""
        reader, writer = (pair[0].makefile(way + mode, buffering) for way in "rw")
        for call, *arguments in [(reader.write, nothing), (reader.write_eof,), (writer.read,), (writer.readline,)]:
            with pytest.raises(UnsupportedOperation):
                call(*arguments)
        reader.flush()
        reader.close()
        for call, *arguments in [(reader.read,), (reader.readline,), (reader.write, nothing), (reader.__enter__,)]:
            with pytest.raises(ValueError, match="closed"):
                call(*arguments)


class TestReadingBytes:
    def test_messages_follow_one_another(self, pair):
        ws, peer = pair
        peer.binary(b"one ")
        peer.text("")
        peer.text("zwölf ")
        peer.send_bytes(peer.message_frames(BINARY, [b"th", b"", b"ree", b""]))
        peer.send_close()
        assert ws.makefile("rb").read() == "one zwölf three".encode()

    def test_read_waits_for_as_much_as_is_asked_for(self, pair):
        ws, peer = pair
        reading = start_waiting(ws.makefile("rb").read, 5)
        peer.binary(b"123")
        let_hub_run()
        assert not reading.ready()
        peer.binary(b"456")
        assert reading.result() == b"12345"

    def test_read1_gives_what_is_there(self, pair):
        ws, peer = pair
        file = ws.makefile("rb")
        peer.binary(b"123")
        assert file.read1(0) == b""
        assert file.read1() == b"123"
        reading = start_waiting(file.read1, 2)
        peer.send(BINARY, b"456", fin=False)
        assert reading.result() == b"45"
        assert file.read1(100) == b"6"
        peer.send(CONTINUATION)
        peer.send_close()
        assert file.read1() == b""

    def test_without_a_buffer_every_read_gives_what_is_there(self, pair):
        ws, peer = pair
        file = ws.makefile("rb", buffering=0)
        reading = start_waiting(file.read, 100)
        peer.binary(b"123")
        assert reading.result() == b"123"
        peer.binary(b"one\ntwo\nthree")
        assert file.readline() == b"one\n"
        target = bytearray(100)
        assert file.readinto(target) == 9
        assert target.startswith(b"two\nthree\0")
        assert file.readinto(bytearray()) == 0
        peer.send_close()
        assert file.read(1) == b""
        assert file.read() == b""

    def test_readinto_fills_and_readinto1_does_not(self, pair):
        ws, peer = pair
        file = ws.makefile("rb")
        peer.binary(b"12")
        peer.binary(b"34")
        target = array("B", bytes(3))
        assert file.readinto(target) == 3
        assert target.tobytes() == b"123"
        assert file.readinto1(target) == 1

    def test_peek_takes_nothing(self, pair):
        ws, peer = pair
        file = ws.makefile("rb")
        peer.binary(b"123")
        assert file.peek(1) == b"123"
        peer.send_close()
        assert file.read() == b"123"
        assert file.peek() == b""

    def test_lines_do_not_care_for_messages(self, pair):
        ws, peer = pair
        for part in (b"one\ntw", b"o", b"\n\nlong\nl", b"ast"):
            peer.binary(part)
        peer.send_close()
        file = ws.makefile("rb")
        assert [file.readline(), file.readline(1), file.readline(100), file.readline(0)] == [
            b"one\n",
            b"t",
            b"wo\n",
            b"",
        ]
        assert file.readlines() == [b"\n", b"long\n", b"last"]
        assert file.readline() == b""

    def test_a_line_that_is_limited_is_not_waited_for(self, pair):
        ws, peer = pair
        peer.binary(b"12345")
        assert ws.makefile("rb").readline(3) == b"123"

    @pytest.mark.parametrize("code", [1000, 1001, None])
    def test_a_good_close_is_its_end(self, pair, code):
        ws, peer = pair
        peer.binary(b"all")
        peer.send_close(code)
        file = ws.makefile("rb")
        assert [file.read(), file.read(), file.read1(), file.read(1)] == [b"all", b"", b"", b""]

    @pytest.mark.parametrize("mode", ["rb", "r"])
    def test_any_other_close_is_an_error_behind_what_came_before(self, pair, mode):
        ws, peer = pair
        peer.text("not\nall")
        peer.send_close(1011)
        file = ws.makefile(mode)
        assert file.readline() in ("not\n", b"not\n")
        for _ in range(2):
            with pytest.raises(ConnectionClosedError):
                file.read()
        assert file.read(3) in ("all", b"all")

    def test_a_close_amid_a_message_is_an_error(self, pair):
        ws, peer = pair
        peer.send(BINARY, b"half", fin=False)
        peer.send_close()
        file = ws.makefile("rb")
        with pytest.raises(ConnectionClosedOK):
            file.read()
        assert file.read1() == b"half"

    @pytest.mark.parametrize("call", [("read", 100), ("read",), ("readline",), ("readinto", bytearray(100))])
    @pytest.mark.parametrize("buffering", [0, -1])
    def test_an_interruption_loses_nothing(self, pair, call, buffering):
        ws, peer = pair
        file = ws.makefile("rb", buffering)
        name, *arguments = call
        if not (buffering == 0 and (arguments or name == "readinto")):  # which would give what is there
            peer.binary(b"before ")
        interrupt(getattr(file, name), *arguments)
        peer.binary(b"after")
        peer.send_close()
        assert file.read() in (b"before after", b"after")

    def test_a_long_message_comes_in_a_bounded_piece(self, make_pair):
        ws, peer = make_pair(buffers=65536, max_size=None)
        file = ws.makefile("rb")
        size = 4 << 20
        sending = start_waiting(peer.send_bytes, peer.frame(BINARY, bytes(size)))
        total = 0
        for _ in range(8):
            total += len(file.read(1000))
            let_hub_run()
            assert ws._protocol.held < HELD_LIMIT + 262144 + 1000
            assert len(file.raw.unread) <= 262144 + 1000
        assert not sending.ready()
        while total < size:
            total += len(file.read1())
        sending.result()

    def test_a_long_message_behind_another_is_not_collected(self, make_pair):
        ws, peer = make_pair(buffers=65536, max_size=None)
        file = ws.makefile("rb")
        peer.binary(b"1")
        assert file.read(1) == b"1"
        sending = start_waiting(peer.send_bytes, peer.frame(BINARY, bytes(1 << 20)) * 2)
        let_hub_run(100)
        assert ws._protocol.held < HELD_LIMIT + 262144 + 1000
        assert not sending.ready()
        assert len(file.read(2 << 20)) == 2 << 20
        sending.result()

    def test_nobody_else_can_receive_meanwhile(self, pair):
        ws, peer = pair
        file = ws.makefile("rb")
        reading = start_waiting(file.read, 1)
        with pytest.raises(ConcurrencyError):
            ws.recv()
        peer.binary(b"12")
        assert reading.result() == b"1"

    def test_behind_its_end_messages_are_messages_again(self, pair):
        ws, peer = pair
        with ws.makefile("rb") as file:
            peer.binary(b"1")
            assert file.read(1) == b"1"
        peer.text("2")
        assert ws.recv() == "2"
        assert ws.state is State.OPEN


class TestWritingBytes:
    def test_a_flush_ends_a_message(self, pair):
        ws, peer = pair
        file = ws.makefile("wb")
        assert [file.write(b"one "), file.write(array("h", [1])), file.write(memoryview(b" two"))] == [4, 2, 4]
        file.flush()
        file.flush()
        file.writelines([b"three", b""])
        file.flush()
        assert [peer.read_message(), peer.read_message()] == [b"one \1\0 two", b"three"]

    def test_a_full_buffer_ends_one_too(self, pair):
        ws, peer = pair
        file = ws.makefile("wb", buffering=4)
        for part in (b"1", b"234", b"5", b"longer", b"67", b"890"):
            file.write(part)
        file.flush()
        assert [peer.read_message() for _ in range(5)] == [b"1234", b"5", b"longer", b"67", b"890"]

    def test_without_a_buffer_each_write_is_a_message(self, pair):
        ws, peer = pair
        file = ws.makefile("wb", buffering=0)
        assert [file.write(b"one"), file.write(b""), file.write(b"two")] == [3, 0, 3]
        assert [peer.read_message(), peer.read_message()] == [b"one", b"two"]

    def test_text_is_refused(self, pair):
        file = pair[0].makefile("wb")
        with pytest.raises(TypeError):
            file.write("text")

    def test_an_interrupted_write_has_written_nothing_of_its_own(self, make_pair):
        ws, peer = make_pair(buffers=4096)
        file = ws.makefile("wb", buffering=10)
        ws.send(bytes(500_000))
        file.write(b"kept")
        for data in (b"too much", bytes(100)):
            interrupt(file.write, data)
        interrupt(file.flush)
        assert len(peer.read_message()) == 500_000
        file.write(b" on")
        file.flush()
        assert peer.read_message() == b"kept on"

    def test_greenlets_that_write_do_so_in_turn(self, make_pair):
        ws, peer = make_pair(buffers=4096)
        file = ws.makefile("wb", buffering=4)
        ws.send(bytes(500_000))
        writers = [start_waiting(file.write, bytes([number]) * 5) for number in range(4)]
        assert len(peer.read_message()) == 500_000
        assert [peer.read_message()[0] for _ in writers] == [0, 1, 2, 3]
        for writer in writers:
            assert writer.result() == 5


class TestReadingText:
    @pytest.mark.parametrize(
        ("newline", "lines"),
        [
            (None, ["a\n", "b\n", "c\n", "d\n", "\n", "e"]),
            ("", ["a\n", "b\r\n", "c\r", "d\r", "\r", "e"]),
            ("\n", ["a\n", "b\r\n", "c\rd\r\re"]),
            ("\r", ["a\nb\r", "\nc\r", "d\r", "\r", "e"]),
            ("\r\n", ["a\nb\r\n", "c\rd\r\re"]),
        ],
    )
    def test_lines_end_as_they_are_told_to(self, pair, newline, lines):
        ws, peer = pair
        for part in ("a\nb\r", "\nc\r", "d\r\r", "e"):
            peer.text(part)
        peer.send_close()
        assert list(ws.makefile("r", newline=newline)) == lines

    def test_a_carriage_return_at_the_end_is_an_end_of_line(self, pair):
        ws, peer = pair
        peer.text("a\r")
        peer.send_close()
        assert ws.makefile("r").read() == "a\n"

    def test_binary_messages_may_be_cut_amid_a_character(self, pair):
        ws, peer = pair
        for part in (b"\xe2", b"\x82", b"\xac\n"):
            peer.binary(part)
        assert ws.makefile("r").readline() == "€\n"

    def test_binary_messages_may_have_another_encoding(self, pair):
        ws, peer = pair
        peer.binary(b"\xfcber ")
        peer.text("über\n")
        file = ws.makefile("r", encoding="latin-1")
        assert file.readline() == "über über\n"
        assert (file.encoding, file.errors) == ("latin-1", "strict")

    def test_what_cannot_be_decoded_is_an_error_once(self, pair):
        ws, peer = pair
        file = ws.makefile("r")
        peer.binary(b"\xff")
        with pytest.raises(UnicodeDecodeError):
            file.read(1)
        peer.binary(b"\xe2")
        peer.send_close()
        with pytest.raises(UnicodeDecodeError):
            file.read(1)
        assert file.read() == ""

    def test_it_is_replaced_where_that_is_wanted(self, pair):
        ws, peer = pair
        peer.binary(b"a\xffb\xe2")
        peer.send_close()
        assert ws.makefile("r", errors="replace").read() == "a\ufffdb\ufffd"

    def test_read_counts_characters(self, pair):
        ws, peer = pair
        for part in ("gr", "üße\n", "und\nEnde"):
            peer.text(part)
        file = ws.makefile("r")
        assert [file.read(0), file.read(1), file.read(4), file.readline(), file.read(2)] == [
            "",
            "g",
            "rüße",
            "\n",
            "un",
        ]
        peer.send_close()
        assert [file.read(1), file.read(100), file.read(), file.read(1)] == ["d", "\nEnde", "", ""]

    def test_readline_may_be_limited(self, pair):
        ws, peer = pair
        peer.text("ab")
        peer.text("cd\nef")
        file = ws.makefile("r")
        assert [file.readline(0), file.readline(1), file.readline(2), file.readline(9)] == ["", "a", "bc", "d\n"]
        assert file.readline(2) == "ef"

    @pytest.mark.parametrize("call", [("read", 100), ("read",), ("readline",)])
    def test_an_interruption_loses_nothing(self, pair, call):
        ws, peer = pair
        file = ws.makefile("r")
        peer.text("before ")
        name, *arguments = call
        interrupt(getattr(file, name), *arguments)
        peer.text("after")
        peer.send_close()
        assert file.read() == "before after"


class TestWritingText:
    def test_a_flush_ends_a_text_message(self, pair):
        ws, peer = pair
        file = ws.makefile("w")
        print("grüße", 1, file=file)
        print("zwei", end="", file=file, flush=True)
        assert peer.read_message() == "grüße 1\nzwei"

    def test_no_message_ends_amid_a_character(self, pair):
        ws, peer = pair
        file = ws.makefile("w", buffering=5)
        for text in ("€", "€", "€€€", "a"):
            assert file.write(text) == len(text)
        file.flush()
        assert [peer.read_message() for _ in range(4)] == ["€", "€", "€€€", "a"]

    @pytest.mark.parametrize(
        ("newline", "sent"), [(None, "a\nb\r\n"), ("", "a\nb\r\n"), ("\r", "a\rb\r\r"), ("\r\n", "a\r\nb\r\r\n")]
    )
    def test_lines_end_as_they_are_told_to(self, pair, newline, sent):
        ws, peer = pair
        file = ws.makefile("w", newline=newline)
        file.write("a\nb\r\n")
        file.flush()
        assert peer.read_message() == sent

    def test_lines_may_leave_at_once(self, pair):
        ws, peer = pair
        file = ws.makefile("w", buffering=1)
        assert file.line_buffering
        print("one", 1, file=file)
        file.write("two\nthr")
        file.write("ee")
        assert [peer.read_message(), peer.read_message()] == ["one 1\n", "two\nthr"]
        file.flush()
        assert peer.read_message() == "ee"

    @pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
    def test_what_is_no_unicode_is_refused_before_anything_is_kept(self, pair, errors):
        ws, peer = pair
        file = ws.makefile("w", errors=errors)
        file.write("good")
        with pytest.raises(UnicodeError):
            file.write("bad \udcff")
        file.flush()
        assert peer.read_message() == "good"

    def test_it_is_replaced_where_that_is_wanted(self, pair):
        ws, peer = pair
        file = ws.makefile("w", errors="replace")
        file.write("\udcff")
        file.flush()
        assert peer.read_message() == "?"

    def test_bytes_are_refused(self, pair):
        file = pair[0].makefile("w")
        with pytest.raises(TypeError, match="bytes"):
            file.write(b"bytes")

    def test_writing_forgets_nothing_that_was_read(self, pair):
        ws, peer = pair
        peer.text("one\ntwo\n")
        file = ws.makefile("rw")
        assert file.readline() == "one\n"
        print("yes", file=file, flush=True)
        assert file.readline() == "two\n"


class TestUsers:
    def test_json(self, pair):
        ws, peer = pair
        with ws.makefile("w") as file:
            json.dump({"größe": [1, 2]}, file)
        assert json.loads(peer.read_message()) == {"größe": [1, 2]}
        peer.send(TEXT, b'{"a": ', fin=False)
        peer.send(CONTINUATION, b"1}")
        peer.send_close()
        assert json.load(ws.makefile("r")) == {"a": 1}

    def test_csv(self, pair):
        ws, peer = pair
        file = ws.makefile("rw", newline="")
        csv.writer(file).writerows([["a", 'b "c"'], ["1", "2\n3"]])
        file.flush()
        peer.text(peer.read_message())
        peer.send_close()
        assert list(csv.reader(file)) == [["a", 'b "c"'], ["1", "2\n3"]]

    def test_gzip(self, pair):
        ws, peer = pair
        file = ws.makefile("wb")
        with gzip.open(file, "wb") as packed:
            packed.write(b"again and " * 1000)
        file.flush()
        data = peer.read_message()
        assert gzip.decompress(data) == b"again and " * 1000
        peer.binary(data)
        peer.send_close()
        with gzip.open(ws.makefile("rb")) as unpacked:
            assert unpacked.read() == b"again and " * 1000

    def test_pickle(self, pair):
        ws, peer = pair
        value = [{"a": 1}, bytearray(70_000), "ü"]
        data = pickle.dumps(value, 5)
        for position in range(0, len(data), 999):
            peer.binary(data[position : position + 999])
        assert pickle.load(ws.makefile("rb")) == value

    def test_copyfileobj(self, pair):
        ws, peer = pair
        data = bytes(range(256)) * 1000
        file = ws.makefile("wb")
        copying = start(shutil.copyfileobj, io.BytesIO(data), file, 10_000)
        received = b"".join(peer.read_message() for _ in range(25))
        copying.result()
        file.flush()
        assert received + peer.read_message() == data
        target = io.BytesIO()
        copying = start(shutil.copyfileobj, ws.makefile("rb"), target)
        start(peer.binary, data).result()
        peer.send_close()
        copying.result()
        assert target.getvalue() == data

    def test_text_io_wrapper(self, pair):
        ws, peer = pair
        peer.binary(b"\xfcber\n")
        assert io.TextIOWrapper(ws.makefile("rb"), "latin-1").readline() == "über\n"


def test_what_came_before_the_first_read_is_read_too(pair):
    ws, peer = pair
    peer.text("one ")
    peer.binary(b"two ")
    peer.send(TEXT, b"thr", fin=False)
    wait_for_messages(ws, 2)
    let_hub_run()
    file = ws.makefile("r")
    assert file.read(11) == "one two thr"
