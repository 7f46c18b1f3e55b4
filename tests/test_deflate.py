"""The settings and the negotiation of permessage-deflate."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventws.deflate import Parameters, PerMessageDeflate
from geventws.exceptions import InvalidHeader
from geventws.frames import Side
from geventws.headers import format_extensions, parse_extensions

BITS = range(8, 16)
SNCT = "server_no_context_takeover"
CNCT = "client_no_context_takeover"
SMWB = "server_max_window_bits"
CMWB = "client_max_window_bits"
DEFAULTS = PerMessageDeflate()
MUCH = 1 << 20


def offer(settings):
    return format_extensions(settings.offers())


def accept(settings, offers):
    """The answer to a request's header value and the parameters, or None."""
    accepted = settings.accept(parse_extensions(offers))
    return None if accepted is None else (format_extensions([accepted[0]]), accepted[1])


def confirm(settings, answer):
    (extension,) = parse_extensions(answer)
    return settings.confirm(extension)


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


def test_library_has_the_functions_of_zlib():
    assert PerMessageDeflate(library=zlib).library is zlib
    with pytest.raises(TypeError, match="library must be a module like zlib"):
        PerMessageDeflate(library="zlib")


def test_settings_have_the_documented_defaults():
    assert DEFAULTS.library is None
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


def test_each_senders_parameters_are_its_own():
    parameters = Parameters(server_no_context_takeover=True, client_no_context_takeover=False, server_max_window_bits=9)
    assert [parameters.context_takeover(side) for side in (Side.SERVER, Side.CLIENT)] == [False, True]
    assert [parameters.window_bits(side) for side in (Side.SERVER, Side.CLIENT)] == [9, 15]
