from __future__ import annotations

import array
import itertools
import os
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geventws import deflate
from geventws.deflate import Compressor, Decompressor, Parameters, PerMessageDeflate
from geventws.exceptions import InvalidHeader, ProtocolError, Violation
from geventws.frames import Side
from geventws.headers import format_extensions, parse_extensions

BITS = range(8, 16)
SNCT = "server_no_context_takeover"
CNCT = "client_no_context_takeover"
SMWB = "server_max_window_bits"
CMWB = "client_max_window_bits"
DEFAULTS = PerMessageDeflate()
MUCH = 1 << 20

# RFC 7692 section 7.2.3, each a "Hello"
HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")
HELLO_AGAIN = bytes.fromhex("f2 00 11 00 00")
HELLO_STORED = bytes.fromhex("00 05 00 fa ff 48 65 6c 6c 6f 00")
HELLO_FINAL = bytes.fromhex("f3 48 cd c9 c9 07 00 00")
HELLO_TWO_BLOCKS = bytes.fromhex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00")


def offer(settings):
    return format_extensions(settings.offers())


def accept(settings, offers):
    """The answer to a request's header value and the parameters, or None."""
    accepted = settings.accept(parse_extensions(offers))
    return None if accepted is None else (format_extensions([accepted[0]]), accepted[1])


def confirm(settings, answer):
    (extension,) = parse_extensions(answer)
    return settings.confirm(extension)


AGREED = Parameters()


def receiver(parameters=AGREED, settings=DEFAULTS, side=Side.SERVER):
    return Decompressor(parameters, settings, side)


def drain(decompressor, limit=MUCH):
    pieces = []
    while decompressor.pending:
        piece = decompressor.read(limit)
        assert len(piece) <= limit
        pieces.append(piece)
    return b"".join(pieces)


def inflate(decompressor, *payloads, limit=MUCH):
    """The message that came in frames with these payloads."""
    pieces = []
    for payload in payloads[:-1]:
        decompressor.feed(payload, False)
        pieces.append(drain(decompressor, limit))
    decompressor.feed(payloads[-1], True)
    pieces.append(drain(decompressor, limit))
    return b"".join(pieces)


def raw_deflate(data, mode, wbits=15, zdict=b""):
    compressor = zlib.compressobj(wbits=-wbits, zdict=zdict)
    return compressor.compress(data) + compressor.flush(mode)


def final_block(data, zdict=b""):
    """A deflate stream whose last block has BFINAL set."""
    return raw_deflate(data, zlib.Z_FINISH, zdict=zdict)


def text(size, seed=0):
    """Something that compresses, but not to nothing."""
    chosen = random.Random(seed)
    words = [bytes(chosen.choices(b"abcdefgh", k=chosen.randint(2, 9))) for _ in range(300)]
    return b" ".join(chosen.choices(words, k=size))[:size]


def pieces_of(data, seed):
    """The data in pieces of random sizes, empty ones too."""
    chosen = random.Random(seed)
    cuts = sorted(chosen.choices(range(len(data) + 1), k=chosen.randint(0, 6)))
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]


# Settings


@pytest.mark.parametrize("name", [SNCT, CNCT])
@pytest.mark.parametrize("value", [0, 1, "yes", []])
def test_context_takeover_settings_are_bool_or_none(name, value):
    with pytest.raises(TypeError, match=f"{name} must be True, False or None"):
        PerMessageDeflate(**{name: value})


@pytest.mark.parametrize("name", [SMWB, CMWB])
@pytest.mark.parametrize("value", [7, 16, 0, 1, -8])
def test_window_bits_are_from_8_to_15(name, value):
    with pytest.raises(ValueError, match=f"{name} must be from 8 to 15, not {value}"):
        PerMessageDeflate(**{name: value})


@pytest.mark.parametrize("name", [SMWB, CMWB])
@pytest.mark.parametrize("value", ["10", 10.0, [10]])
def test_window_bits_are_int(name, value):
    with pytest.raises(TypeError, match=f"{name} must be an int"):
        PerMessageDeflate(**{name: value})


@pytest.mark.parametrize("value", [True, False])
def test_server_max_window_bits_is_not_bool(value):
    with pytest.raises(TypeError, match="server_max_window_bits must be an int"):
        PerMessageDeflate(server_max_window_bits=value)


@pytest.mark.parametrize("name, value", [("threshold", -1), ("concurrency_limit", 0)])
def test_threshold_and_concurrency_limit_have_a_least_value(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least {value + 1}, not {value}"):
        PerMessageDeflate(**{name: value})


@pytest.mark.parametrize("name", ["threshold", "concurrency_limit"])
@pytest.mark.parametrize("value", [None, 1.5, "1", True])
def test_threshold_and_concurrency_limit_are_int(name, value):
    with pytest.raises(TypeError, match=f"{name} must be an int"):
        PerMessageDeflate(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"level": -2},
        {"level": 10},
        {"memLevel": 0},
        {"memLevel": 10},
        {"strategy": -1},
        {"strategy": 5},
        {"wbits": 7},
        {"wbits": 16},
        {"wbits": -15},
    ],
)
def test_compress_options_are_in_the_range_of_zlib(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"compress_options\['{name}'\] must be from"):
        PerMessageDeflate(compress_options=options)


@pytest.mark.parametrize("name", ["compress_options", "decompress_options"])
def test_options_refuse_what_zlib_does_not_know(name):
    with pytest.raises(ValueError, match=f"{name} may have .*wbits, not 'window'"):
        PerMessageDeflate(**{name: {"window": 9}})


def test_decompress_options_refuse_what_concerns_only_compressing():
    with pytest.raises(ValueError, match="decompress_options may have wbits, not 'level'"):
        PerMessageDeflate(decompress_options={"level": 9})


@pytest.mark.parametrize("name", ["compress_options", "decompress_options"])
@pytest.mark.parametrize("value", [{"wbits": "9"}, {"wbits": None}, {"wbits": True}, 9, [("wbits", 9)]])
def test_options_have_a_type(name, value):
    with pytest.raises(TypeError, match=name):
        PerMessageDeflate(**{name: value})


def test_settings_do_not_change_with_the_mapping_they_were_made_from():
    options = {"level": 1}
    settings = PerMessageDeflate(compress_options=options)
    options["level"] = 77
    assert settings.compress_options == {"level": 1}


def test_settings_have_the_documented_defaults():
    assert DEFAULTS.threshold == 1024
    assert DEFAULTS.concurrency_limit == 10


# Negotiation: the client's offer


def test_default_offer_lets_the_server_choose_the_clients_window():
    assert offer(DEFAULTS) == "permessage-deflate; client_max_window_bits"


def test_offer_with_true_is_the_default_offer():
    assert offer(PerMessageDeflate(client_max_window_bits=True)) == offer(DEFAULTS)


def test_offer_has_what_the_settings_say():
    settings = PerMessageDeflate(True, True, 10, 11)
    assert offer(settings) == f"permessage-deflate; {SNCT}; {CNCT}; {SMWB}=10; {CMWB}=11"


def test_offer_leaves_out_what_is_false():
    settings = PerMessageDeflate(False, False, client_max_window_bits=False)
    assert offer(settings) == "permessage-deflate"


# Negotiation: the server's answer


def test_plain_offer_gets_a_plain_answer():
    assert accept(DEFAULTS, "permessage-deflate") == ("permessage-deflate", Parameters(False, False, 15, 15))


def test_other_extensions_are_passed_over():
    answer, _ = accept(DEFAULTS, "x-webkit-deflate-frame, permessage-bzip2; level=9, permessage-deflate")
    assert answer == "permessage-deflate"


@pytest.mark.parametrize("offers", ["permessage-bzip2", "Permessage-Deflate", "permessage-deflate; unknown"])
def test_no_acceptable_offer_gets_no_answer(offers):
    assert accept(DEFAULTS, offers) is None


INVALID_PARAMETERS = [
    "unknown",
    "unknown=1",
    "Server_no_context_takeover",
    f"{SNCT}=1",
    f"{SNCT}=true",
    f"{SNCT}; {SNCT}",
    f"{CNCT}=0",
    f"{CNCT}; {CNCT}",
    SMWB,
    f"{SMWB}=10; {SMWB}=10",
    f"{CMWB}=10; {CMWB}=11",
    *(
        f"{name}={value}"
        for name in (SMWB, CMWB)
        for value in ("7", "16", "0", "013", "08", "+13", "-8", "0xd", "1e1", "13.0", "1_0", "10a", "255")
    ),
]


@pytest.mark.parametrize("parameters", INVALID_PARAMETERS)
def test_invalid_offer_is_declined_and_the_next_one_taken(parameters):
    assert accept(DEFAULTS, f"permessage-deflate; {parameters}") is None
    answer, agreed = accept(DEFAULTS, f"permessage-deflate; {parameters}, permessage-deflate; {SMWB}=9")
    assert answer == f"permessage-deflate; {SMWB}=9"
    assert agreed == Parameters(server_max_window_bits=9)


def test_window_bits_are_ascii_digits():
    declined = DEFAULTS.accept([("permessage-deflate", [(SMWB, "\N{FULLWIDTH DIGIT NINE}")])])
    assert declined is None


def test_first_acceptable_offer_is_taken():
    answer, _ = accept(DEFAULTS, f"permessage-deflate; {SMWB}=12, permessage-deflate; {SMWB}=9, permessage-deflate")
    assert answer == f"permessage-deflate; {SMWB}=12"


def test_quoted_window_bits_are_read():
    assert accept(DEFAULTS, f'permessage-deflate; {SMWB}="10"')[1] == Parameters(server_max_window_bits=10)


def test_offered_no_context_takeover_is_honoured_and_answered():
    answer, agreed = accept(DEFAULTS, f"permessage-deflate; {SNCT}; {CNCT}")
    assert answer == f"permessage-deflate; {SNCT}; {CNCT}"
    assert agreed == Parameters(True, True, 15, 15)


def test_server_asks_for_no_context_takeover_unasked():
    answer, agreed = accept(PerMessageDeflate(True, True), "permessage-deflate")
    assert answer == f"permessage-deflate; {SNCT}; {CNCT}"
    assert agreed == Parameters(True, True, 15, 15)


def test_server_that_keeps_its_context_declines_an_offer_that_forbids_it():
    settings = PerMessageDeflate(server_no_context_takeover=False)
    assert accept(settings, f"permessage-deflate; {SNCT}") is None
    assert accept(settings, "permessage-deflate") is not None


def test_server_need_not_take_up_the_hint_of_client_no_context_takeover():
    settings = PerMessageDeflate(client_no_context_takeover=False)
    assert accept(settings, f"permessage-deflate; {CNCT}") == ("permessage-deflate", Parameters())


@pytest.mark.parametrize(
    "setting, offered, agreed", [(None, 10, 10), (9, None, 9), (9, 10, 9), (10, 9, 9), (15, 15, 15), (8, 8, 8)]
)
def test_server_window_is_the_smaller_of_what_both_want(setting, offered, agreed):
    parameter = "" if offered is None else f"; {SMWB}={offered}"
    answer, parameters = accept(PerMessageDeflate(server_max_window_bits=setting), f"permessage-deflate{parameter}")
    assert answer == f"permessage-deflate; {SMWB}={agreed}"
    assert parameters == Parameters(server_max_window_bits=agreed)


@pytest.mark.parametrize(
    "setting, offered, agreed", [(None, 10, 10), (True, 10, 10), (9, None, 9), (9, 10, 9), (10, 9, 9), (8, 8, 8)]
)
def test_client_window_is_the_smaller_of_what_both_want(setting, offered, agreed):
    value = "" if offered is None else f"={offered}"
    answer, parameters = accept(PerMessageDeflate(client_max_window_bits=setting), f"permessage-deflate; {CMWB}{value}")
    assert answer == f"permessage-deflate; {CMWB}={agreed}"
    assert parameters == Parameters(client_max_window_bits=agreed)


@pytest.mark.parametrize("setting", [None, True, False])
def test_client_window_is_not_answered_when_nobody_limits_it(setting):
    settings = PerMessageDeflate(client_max_window_bits=setting)
    assert accept(settings, f"permessage-deflate; {CMWB}") == ("permessage-deflate", Parameters())


def test_server_with_false_does_not_choose_the_clients_window():
    settings = PerMessageDeflate(client_max_window_bits=False)
    assert accept(settings, f"permessage-deflate; {CMWB}=9") == ("permessage-deflate", Parameters())


def test_server_that_must_limit_the_clients_window_declines_an_offer_that_does_not_let_it():
    settings = PerMessageDeflate(client_max_window_bits=12)
    assert accept(settings, "permessage-deflate") is None
    answer, _ = accept(settings, f"permessage-deflate, permessage-deflate; {CMWB}")
    assert answer == f"permessage-deflate; {CMWB}=12"


# Negotiation: what the client makes of the answer


def test_plain_answer_is_confirmed():
    assert confirm(DEFAULTS, "permessage-deflate") == Parameters(False, False, 15, 15)


def test_server_may_ask_for_everything_the_default_offer_allows():
    answer = f"permessage-deflate; {SNCT}; {CNCT}; {SMWB}=8; {CMWB}=9"
    assert confirm(DEFAULTS, answer) == Parameters(True, True, 8, 9)


@pytest.mark.parametrize("parameters", [*INVALID_PARAMETERS, CMWB])
def test_invalid_answer_is_refused(parameters):
    with pytest.raises(InvalidHeader) as caught:
        confirm(DEFAULTS, f"permessage-deflate; {parameters}")
    assert caught.value.name == "Sec-WebSocket-Extensions"
    assert caught.value.value == f"permessage-deflate; {parameters}"


def test_answer_with_another_extension_is_refused():
    with pytest.raises(InvalidHeader, match="not offered"):
        confirm(DEFAULTS, "permessage-bzip2")


@pytest.mark.parametrize("name", [SNCT, CNCT])
def test_answer_that_the_settings_rule_out_is_refused(name):
    with pytest.raises(InvalidHeader, match=f"{name} is ruled out"):
        confirm(PerMessageDeflate(**{name: False}), f"permessage-deflate; {name}")


def test_answer_without_the_demanded_server_no_context_takeover_is_refused():
    settings = PerMessageDeflate(server_no_context_takeover=True)
    assert confirm(settings, f"permessage-deflate; {SNCT}") == Parameters(server_no_context_takeover=True)
    with pytest.raises(InvalidHeader, match="server_no_context_takeover was demanded"):
        confirm(settings, "permessage-deflate")


@pytest.mark.parametrize("bits", [8, 9, 10])
def test_answer_with_a_server_window_within_the_demand_is_confirmed(bits):
    settings = PerMessageDeflate(server_max_window_bits=10)
    assert confirm(settings, f"permessage-deflate; {SMWB}={bits}") == Parameters(server_max_window_bits=bits)


@pytest.mark.parametrize("parameter", ["", f"; {SMWB}=11", f"; {SMWB}=15"])
def test_answer_with_a_server_window_beyond_the_demand_is_refused(parameter):
    settings = PerMessageDeflate(server_max_window_bits=10)
    with pytest.raises(InvalidHeader, match="server_max_window_bits of at most 10 was demanded"):
        confirm(settings, f"permessage-deflate{parameter}")


def test_answer_with_a_client_window_that_was_not_offered_is_refused():
    with pytest.raises(InvalidHeader, match="client_max_window_bits was not offered"):
        confirm(PerMessageDeflate(client_max_window_bits=False), f"permessage-deflate; {CMWB}=15")


@pytest.mark.parametrize("parameter, bits", [("", 10), (f"; {CMWB}=9", 9), (f"; {CMWB}=10", 10), (f"; {CMWB}=12", 10)])
def test_clients_own_limits_hold_whatever_the_server_answers(parameter, bits):
    settings = PerMessageDeflate(client_no_context_takeover=True, client_max_window_bits=10)
    assert confirm(settings, f"permessage-deflate{parameter}") == Parameters(False, True, 15, bits)


FLAGS = st.sampled_from([None, True, False])
SETTINGS = st.builds(
    PerMessageDeflate,
    FLAGS,
    FLAGS,
    st.sampled_from([None, *BITS]),
    st.sampled_from([None, True, False, *BITS]),
)


@given(SETTINGS, SETTINGS)
def test_client_confirms_every_answer_of_a_server_that_it_does_not_rule_out(client, server):
    accepted = server.accept(client.offers())
    if accepted is None:
        return
    answer, agreed = accepted
    ruled_out = [name for name, _ in answer[1] if getattr(client, name) is False]
    if ruled_out:
        with pytest.raises(InvalidHeader, match=ruled_out[0]):
            client.confirm(answer)
        return
    confirmed = client.confirm(answer)
    # A client may do more than it was asked for, which asks nothing more of the server.
    assert confirmed.server_no_context_takeover == agreed.server_no_context_takeover
    assert confirmed.client_no_context_takeover >= agreed.client_no_context_takeover
    assert confirmed.server_max_window_bits == agreed.server_max_window_bits
    assert confirmed.client_max_window_bits <= agreed.client_max_window_bits


# RFC 7692 section 7.2.3


def feeds(payload):
    """The payload whole, byte by byte and at random."""
    yield [payload]
    yield [payload[index : index + 1] for index in range(len(payload))]
    for seed in range(20):
        yield pieces_of(payload, seed)


@pytest.mark.parametrize("payload", [HELLO, HELLO_STORED, HELLO_FINAL, HELLO_TWO_BLOCKS])
@pytest.mark.parametrize("limit", [1, 2, 5, MUCH])
def test_examples_of_the_rfc_are_read_however_they_are_split(payload, limit):
    for split in feeds(payload):
        decompressor = receiver()
        assert inflate(decompressor, *split, limit=limit) == b"Hello"
        assert inflate(decompressor, HELLO_AGAIN, limit=limit) == b"Hello"


def test_fragmented_message_of_the_rfc_is_read():
    assert inflate(receiver(), HELLO[:3], HELLO[3:]) == b"Hello"


def test_shared_window_of_the_rfc_is_read_and_written():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    assert [compressor.compress(b"Hello"), compressor.compress(b"Hello")] == [HELLO, HELLO_AGAIN]


def test_empty_message_is_one_zero_byte():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    assert compressor.compress(b"") == b"\x00"
    assert compressor.compress(b"Hello") == HELLO
    assert compressor.compress(b"") == b"\x00"
    assert compressor.compress(b"Hello") == HELLO_AGAIN


# Compressor


@pytest.mark.parametrize("fragment", [True, False])
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_plain_zlib_reads_what_is_compressed_in_every_window(bits, takeover, side, fragment):
    parameters = Parameters(not takeover, not takeover, bits, bits)
    compressor = Compressor(parameters, DEFAULTS, side)
    decoder = zlib.decompressobj(-bits)
    for seed in range(8):
        message = text(3000, seed % 3)
        payload = compressor.compress(message[:1200], False) if fragment else b""
        payload += compressor.compress(message[1200:] if fragment else message)
        if not takeover:
            decoder = zlib.decompressobj(-bits)
        assert decoder.decompress(payload + b"\x00\x00\xff\xff") == message


@pytest.mark.parametrize("level", range(-1, 10))
@pytest.mark.parametrize("memory_level", [1, 5, 9])
def test_window_of_8_bits_is_kept_with_every_option(level, memory_level):
    # Repetitions at all distances around 256: a reference that goes back further would not be decoded.
    message = b"".join(os.urandom(distance) * 3 for distance in range(240, 300))
    for strategy in range(5):
        options = {"level": level, "memLevel": memory_level, "strategy": strategy}
        settings = PerMessageDeflate(compress_options=options)
        compressor = Compressor(Parameters(server_max_window_bits=8), settings, Side.SERVER)
        payloads = [compressor.compress(message), compressor.compress(message)]
        decoder = zlib.decompressobj(-8)
        assert [decoder.decompress(payload + b"\x00\x00\xff\xff") for payload in payloads] == [message, message]


def test_without_context_takeover_equal_messages_have_equal_payloads():
    compressor = Compressor(Parameters(client_no_context_takeover=True), DEFAULTS, Side.CLIENT)
    assert [compressor.compress(b"Hello"), compressor.compress(b"Hello")] == [HELLO, HELLO]


@pytest.mark.parametrize("side", Side)
def test_each_side_compresses_by_its_own_parameters(side):
    mine = Parameters(server_no_context_takeover=side is Side.SERVER, client_no_context_takeover=side is Side.CLIENT)
    compressor = Compressor(mine, DEFAULTS, side)
    assert [compressor.compress(b"Hello"), compressor.compress(b"Hello")] == [HELLO, HELLO]
    compressor = Compressor(mine, DEFAULTS, Side.SERVER if side is Side.CLIENT else Side.CLIENT)
    assert [compressor.compress(b"Hello"), compressor.compress(b"Hello")] == [HELLO, HELLO_AGAIN]


@pytest.mark.parametrize(
    "message",
    [
        bytearray(b"12345678"),
        memoryview(b"12345678"),
        memoryview(b"1.2.3.4.5.6.7.8.")[::2],
        memoryview(b"12345678").cast("H", (2, 2)),
        array.array("H", b"12345678"),
    ],
)
def test_every_kind_of_buffer_is_compressed(message):
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    assert inflate(receiver(), compressor.compress(message)) == b"12345678"


@pytest.mark.parametrize(
    "fragments", [[b"", b""], [b"", b"", b"Hello"], [b"Hello", b""], [b"He", b"", b"llo", b"", b""]]
)
@pytest.mark.parametrize("takeover", [True, False])
def test_empty_fragments_are_compressed(fragments, takeover):
    parameters = Parameters(client_no_context_takeover=not takeover)
    compressor = Compressor(parameters, DEFAULTS, Side.CLIENT)
    decompressor = receiver(parameters)
    for _ in range(3):
        payloads = [compressor.compress(fragment, False) for fragment in fragments[:-1]]
        payloads.append(compressor.compress(fragments[-1]))
        assert inflate(decompressor, *payloads) == b"".join(fragments)


def test_fragment_can_be_decoded_before_the_next_one_comes():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    decompressor = receiver()
    decompressor.feed(compressor.compress(b"Hello", False), False)
    assert drain(decompressor) == b"Hello"


def test_after_a_reset_nothing_refers_to_what_was_lost():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    decompressor = receiver()
    assert inflate(decompressor, compressor.compress(b"first")) == b"first"
    compressor.compress(text(500))
    compressor.reset()
    assert inflate(decompressor, compressor.compress(text(500))) == text(500)


def test_reset_inside_a_message_keeps_the_message_whole():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    first = compressor.compress(text(500), False)
    compressor.reset()
    assert inflate(receiver(), first, compressor.compress(text(500))) == text(500) * 2


def test_failure_while_compressing_gives_up_the_context(monkeypatch):
    class Failing:
        def compress(self, data):
            raise MemoryError

    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    monkeypatch.setattr(zlib, "compressobj", lambda *arguments: Failing())
    with pytest.raises(MemoryError):
        compressor.compress(b"Hello")
    monkeypatch.undo()
    assert compressor.compress(b"Hello") == HELLO


def test_reset_during_compression_in_a_thread_leaves_the_next_context_alone(monkeypatch):
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    made = zlib.compressobj(4, zlib.DEFLATED, -15, 7)
    payloads = []

    class Interrupted:
        def compress(self, data):
            compressor.reset()
            monkeypatch.undo()
            payloads.append(compressor.compress(b"Hello"))
            return made.compress(data)

        def flush(self, mode):
            return made.flush(mode)

    monkeypatch.setattr(zlib, "compressobj", lambda *arguments: Interrupted())
    compressor.compress(b"lost")
    payloads.append(compressor.compress(b"Hello"))
    assert payloads == [HELLO, HELLO_AGAIN]


def recorded_compressobj(monkeypatch, parameters, settings, side=Side.SERVER):
    """The arguments with which a context was made."""
    calls = []
    make = zlib.compressobj
    monkeypatch.setattr(deflate.zlib, "compressobj", lambda *arguments: calls.append(arguments) or make(*arguments))
    compressor = Compressor(parameters, settings, side)
    assert calls == []  # an idle connection has no context
    compressor.compress(b"Hello")
    compressor.compress(b"Hello")
    (call,) = calls
    return call


def test_compress_options_reach_zlib(monkeypatch):
    settings = PerMessageDeflate(compress_options={"level": 9, "memLevel": 3, "strategy": 2, "wbits": 11})
    call = recorded_compressobj(monkeypatch, Parameters(), settings)
    assert call == (9, zlib.DEFLATED, -11, 3, 2)


def test_default_compress_options(monkeypatch):
    call = recorded_compressobj(monkeypatch, Parameters(), DEFAULTS)
    assert call == (4, zlib.DEFLATED, -15, 7, zlib.Z_DEFAULT_STRATEGY)


@pytest.mark.parametrize("agreed, option, used", [(8, 15, 9), (8, 8, 9), (12, 15, 12), (15, 8, 9), (15, 12, 12)])
def test_window_is_the_smaller_of_agreement_and_option(monkeypatch, agreed, option, used):
    settings = PerMessageDeflate(compress_options={"wbits": option})
    call = recorded_compressobj(monkeypatch, Parameters(server_max_window_bits=agreed), settings)
    assert call[2] == -used


def test_closed_compressor_holds_no_context():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    compressor.compress(b"Hello")
    compressor.close()
    assert compressor._context is None


# Decompressor


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_what_plain_zlib_compresses_in_every_window_is_read(bits, takeover, side):
    decompressor = receiver(Parameters(not takeover, not takeover, bits, bits), side=side)
    encoder = zlib.compressobj(wbits=-max(bits, 9))
    for seed in range(8):
        message = text(3000, seed % 3)
        if not takeover:
            encoder = zlib.compressobj(wbits=-max(bits, 9))
        payload = (encoder.compress(message) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]
        assert inflate(decompressor, *pieces_of(payload, seed), limit=1000) == message


@pytest.mark.parametrize("side", Side)
def test_each_side_decompresses_by_the_other_sides_parameters(side):
    sender = Side.CLIENT if side is Side.SERVER else Side.SERVER
    theirs = Parameters(sender is Side.SERVER, sender is Side.CLIENT)
    decompressor = receiver(theirs, side=side)
    assert inflate(decompressor, HELLO) == b"Hello"
    with pytest.raises(ProtocolError):
        inflate(decompressor, HELLO_AGAIN)
    decompressor = receiver(theirs, side=sender)
    assert [inflate(decompressor, HELLO), inflate(decompressor, HELLO_AGAIN)] == [b"Hello", b"Hello"]


def two_payloads(message):
    """Two messages of which the second refers back to the start of the first."""
    encoder = zlib.compressobj(wbits=-15)
    return [(encoder.compress(message) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4] for _ in range(2)]


def test_reference_beyond_the_agreed_window_is_refused():
    message = os.urandom(600)
    first, second = two_payloads(message)
    decompressor = receiver(Parameters(client_max_window_bits=9))
    assert inflate(decompressor, first) == message
    with pytest.raises(ProtocolError):
        inflate(decompressor, second)


@pytest.mark.parametrize("agreed, option", [(9, 11), (15, 8), (10, 10)])
def test_window_is_the_larger_of_agreement_and_option(agreed, option):
    message = os.urandom(600)
    settings = PerMessageDeflate(decompress_options={"wbits": option})
    decompressor = receiver(Parameters(client_max_window_bits=agreed), settings)
    assert [inflate(decompressor, payload) for payload in two_payloads(message)] == [message, message]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_input_is_taken_over_at_once(kind):
    received = bytearray(HELLO)
    fragment = kind(received)
    decompressor = receiver()
    decompressor.feed(fragment[:4], False)
    decompressor.feed(fragment[4:], True)
    received[:] = bytes(len(received))
    assert drain(decompressor) == b"Hello"


def test_read_gives_nothing_when_nothing_is_pending():
    decompressor = receiver()
    assert decompressor.read(100) == b""
    inflate(decompressor, HELLO)
    assert decompressor.read(100) == b""


@pytest.mark.parametrize("limit", [0, -1])
def test_read_has_a_limit(limit):
    with pytest.raises(ValueError, match="limit"):
        receiver().read(limit)


def test_context_is_made_at_first_use_and_dropped_by_close():
    decompressor = receiver()
    assert decompressor._context is None
    inflate(decompressor, HELLO)
    assert decompressor._context is not None
    decompressor.feed(HELLO, False)
    decompressor.close()
    assert not decompressor.pending
    assert decompressor._context is None


def test_without_context_takeover_nothing_is_held_between_messages():
    decompressor = receiver(Parameters(client_no_context_takeover=True))
    inflate(decompressor, HELLO)
    assert decompressor._context is None
    assert not decompressor._window


def test_output_at_the_limit_leaves_the_rest_for_the_next_read():
    decompressor = receiver()
    decompressor.feed(raw_deflate(bytes(1000), zlib.Z_SYNC_FLUSH)[:-4], True)
    assert decompressor.read(1000) == bytes(1000)
    assert decompressor.pending
    assert decompressor.read(1) == b""
    assert not decompressor.pending


def test_output_that_zlib_holds_back_after_all_input_is_read():
    # One length of 258 bytes is the last thing in the data: zlib has read everything long before it is all out.
    decompressor = receiver()
    decompressor.feed(raw_deflate(bytes(259), zlib.Z_SYNC_FLUSH)[:-4], False)
    assert [decompressor.read(100) for _ in range(3)] == [bytes(100), bytes(100), bytes(59)]
    assert not decompressor.pending


def test_bomb_is_inflated_no_further_than_it_is_read():
    bomb = raw_deflate(bytes(200 << 20), zlib.Z_SYNC_FLUSH)[:-4]
    decompressor = receiver()
    tracemalloc.start()
    try:
        decompressor.feed(bomb, True)
        assert sum(len(decompressor.read(65536)) for _ in range(10)) == 655360
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decompressor.pending
    assert peak < 1 << 20


def test_large_payload_is_read_in_linear_time():
    # zlib copies the input that it leaves; were it given all at once, this would copy a thousand times 4 MiB.
    message = os.urandom(4 << 20)
    decompressor = receiver()
    decompressor.feed(raw_deflate(message, zlib.Z_SYNC_FLUSH)[:-4], True)
    tracemalloc.start()
    try:
        copied = 0
        while decompressor.pending:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            decompressor.read(4096)
            copied = max(copied, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert copied < 1 << 17


# Blocks with BFINAL set (RFC 7692 section 7.2.3.4)


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("limit", [1, 7, MUCH])
@pytest.mark.parametrize("ending", [b"\x00", b"\x01", b""])
def test_message_that_ends_with_a_final_block_is_read_and_so_are_the_next_ones(takeover, limit, ending):
    # An empty block behind it, as the RFC wants it; an empty final block; or nothing, which some senders do.
    parameters = Parameters(client_no_context_takeover=not takeover)
    decompressor = receiver(parameters)
    compressor = Compressor(parameters, DEFAULTS, Side.CLIENT)
    for seed in range(3):
        message = text(300, seed)
        payload = final_block(message) + ending
        for split in feeds(payload):
            assert inflate(decompressor, *split, limit=limit) == message
        compressor.reset()
        assert inflate(decompressor, compressor.compress(message), limit=limit) == message


def test_final_blocks_inside_a_message_are_read():
    parts = [text(200, seed) for seed in range(6)]
    payload = b"".join(map(final_block, parts[:5])) + raw_deflate(parts[5], zlib.Z_SYNC_FLUSH)[:-4]
    for split in feeds(payload):
        for limit in (1, 100, MUCH):
            assert inflate(receiver(), *split, limit=limit) == b"".join(parts)


def test_final_block_is_read_at_every_place_of_a_large_payload():
    # Also where the block ends where a slice of the input does.
    for size in range(16370, 16400):
        payload = final_block(b"") + b"\x00" + (size - 3).to_bytes(2, "little")
        payload += (0xFFFF - (size - 3)).to_bytes(2, "little") + bytes(size - 3) + final_block(b"")
        decompressor = receiver()
        assert inflate(decompressor, payload) == bytes(size - 3)
        assert inflate(decompressor, HELLO) == b"Hello"


@pytest.mark.parametrize("takeover", [True, False])
def test_window_is_kept_across_a_final_block(takeover):
    first, second = os.urandom(20000), os.urandom(20000)
    history = (first + second)[-32000:]
    payload = final_block(first) + final_block(second, zdict=first)
    referring = raw_deflate(history, zlib.Z_SYNC_FLUSH, zdict=history)[:-4]
    assert len(referring) < 1000  # it does refer back
    decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
    assert inflate(decompressor, payload, referring) == first + second + history


def test_window_is_kept_from_message_to_message_across_final_blocks():
    history = os.urandom(32000)
    decompressor = receiver()
    assert inflate(decompressor, final_block(history) + b"\x00") == history
    for _ in range(3):
        payload = final_block(history, zdict=history)
        assert len(payload) < 1000
        assert inflate(decompressor, payload + b"\x00", limit=1000) == history


def test_window_is_not_kept_from_message_to_message_without_context_takeover():
    history = os.urandom(1000)
    decompressor = receiver(Parameters(client_no_context_takeover=True))
    inflate(decompressor, final_block(history) + b"\x00")
    with pytest.raises(ProtocolError):
        inflate(decompressor, final_block(history, zdict=history) + b"\x00")


@pytest.mark.parametrize("bits", BITS)
def test_remembered_output_is_about_as_long_as_the_window(bits):
    decompressor = receiver(Parameters(client_max_window_bits=bits))
    for size in (100, 100000, 1, 300):
        inflate(decompressor, raw_deflate(os.urandom(size), zlib.Z_SYNC_FLUSH)[:-4], limit=5000)
    assert 1 << bits <= len(decompressor._window) <= (1 << bits) * 9 / 8


# Data that is not valid


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("payload", [b"\xff", b"\x07", b"\x05\x00", HELLO + b"\xff", b"\x00\x05\x00\x00\x00Hello"])
def test_garbage_is_refused(payload, takeover):
    decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
    assert inflate(decompressor, HELLO) == b"Hello"
    with pytest.raises(ProtocolError) as caught:
        inflate(decompressor, payload)
    assert caught.value.violation is Violation.INVALID_DEFLATE_DATA


DYNAMIC = raw_deflate(text(2000), zlib.Z_SYNC_FLUSH)[:-4]


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("payload", [HELLO, HELLO_STORED, HELLO_FINAL[:-1], DYNAMIC])
def test_message_that_is_cut_short_is_refused_at_every_place(payload, takeover):
    for size in range(2 if payload is HELLO_STORED else 1, len(payload)):  # one zero byte is an empty message
        decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
        with pytest.raises(ProtocolError) as caught:
            inflate(decompressor, payload[:size])
        assert caught.value.violation is Violation.INVALID_DEFLATE_DATA


def test_reference_to_before_the_first_message_is_refused():
    with pytest.raises(ProtocolError):
        inflate(receiver(), HELLO_AGAIN)


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize(
    "fragments", [[b""], [b"", b""], [b"", b"", b""], [b"", b"\x00"], [b"\x00", b"\x00\x00\xff\xff\x00"]]
)
def test_empty_messages_are_read(fragments, takeover):
    decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
    for _ in range(3):
        assert inflate(decompressor, *fragments) == b""
        assert inflate(decompressor, HELLO) == b"Hello"


def test_fragment_that_looks_like_the_end_of_a_message_is_read_as_data():
    stored = b"\x00\x04\x00\xfb\xff\x00\x00\xff\xff"
    decompressor = receiver()
    decompressor.feed(stored[:5], False)
    decompressor.feed(stored[5:], False)
    decompressor.feed(b"\x00", True)
    assert drain(decompressor) == b"\x00\x00\xff\xff"


@given(st.binary(max_size=200), st.booleans())
def test_any_input_is_read_or_refused_with_a_violation(payload, takeover):
    decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
    try:
        inflate(decompressor, HELLO)
        inflate(decompressor, payload, limit=1000)
        inflate(decompressor, HELLO)
    except ProtocolError as error:
        assert error.violation is Violation.INVALID_DEFLATE_DATA


# Both together

PARAMETERS = st.builds(Parameters, st.booleans(), st.booleans(), st.sampled_from(BITS), st.sampled_from(BITS))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "level": st.integers(-1, 9),
        "memLevel": st.integers(1, 9),
        "strategy": st.integers(0, 4),
        "wbits": st.sampled_from(BITS),
    },
)
MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=100),
        st.builds(text, st.integers(0, 3000), st.integers(0, 3)),
        st.builds(bytes, st.integers(0, 100000)),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(PARAMETERS, OPTIONS, st.sampled_from(Side), MESSAGES, st.integers(1, 70000), st.integers(0, 1 << 32))
def test_what_one_side_compresses_the_other_reads(parameters, options, sender, messages, limit, seed):
    compressor = Compressor(parameters, PerMessageDeflate(compress_options=options), sender)
    decompressor = receiver(parameters, side=Side.CLIENT if sender is Side.SERVER else Side.SERVER)
    for number, message in enumerate(messages):
        *fragments, last = pieces_of(message, seed + number)
        payloads = [compressor.compress(fragment, False) for fragment in fragments]
        payloads.append(compressor.compress(last))
        read = [piece for payload in payloads for piece in pieces_of(payload, seed)]
        assert inflate(decompressor, *read, limit=max(limit, len(message) // 50, 1)) == message
