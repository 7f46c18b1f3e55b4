from __future__ import annotations

import gevent
import pytest

from geventws import InvalidStatus, WebSocketServer, connect
from geventws.authentication import basic_auth
from geventws.headers import basic_credentials
from geventws.http11 import Request

PASSWORDS = {"ada": "analytical engine", "empty": "", "zoë": "naïve"}


def asked_by(user, password):
    return Request(headers={"Authorization": basic_credentials(user, password)})


@pytest.mark.parametrize("user", PASSWORDS)
def test_the_right_password_lets_in_and_names_the_user(user):
    request = asked_by(user, PASSWORDS[user])
    assert basic_auth(PASSWORDS)(request) is None
    assert request.user == user


@pytest.mark.parametrize(
    "user, password", [("ada", "difference engine"), ("ada", ""), ("Ada", "analytical engine"), ("nobody", "")]
)
def test_a_wrong_one_is_refused(user, password):
    request = asked_by(user, password)
    response = basic_auth(PASSWORDS)(request)
    assert (response.status, request.user) == (401, None)
    assert b"wrong" in response.body


@pytest.mark.parametrize("value", [None, "", "Bearer abc", "Basic", "Basic !!", "Basic YWRh"])
def test_who_gives_none_is_asked_for_one(value):
    request = Request(headers=None if value is None else {"Authorization": value})
    response = basic_auth(PASSWORDS, realm="the office")(request)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="the office", charset="UTF-8"'


def test_every_answer_takes_one_comparison(monkeypatch):
    """Also that for a user whom there is not, so that the time tells nothing of who there is."""
    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("geventws.authentication.hmac.compare_digest", compare)
    check = basic_auth(PASSWORDS)
    for user, password in (("ada", "analytical engine"), ("ada", "x"), ("nobody", "analytical engine")):
        check(asked_by(user, password))
    assert compared == [(32, 32)] * 3


def test_a_function_may_decide_and_may_wait():
    asked = []

    def check(user, password):
        gevent.sleep(0)
        asked.append((user, password))
        return user == "ada"

    authenticate = basic_auth(check)
    assert authenticate(asked_by("ada", "x")) is None
    assert authenticate(asked_by("eve", "y")).status == 401
    assert asked == [("ada", "x"), ("eve", "y")]


@pytest.mark.parametrize(
    "arguments, error",
    [
        (({"a:b": "x"},), ValueError),
        (({"ada": b"x"},), TypeError),
        (({1: "x"},), TypeError),
        (([("ada", "x")],), TypeError),
    ],
)
def test_credentials_that_make_no_sense_are_refused(arguments, error):
    with pytest.raises(error):
        basic_auth(*arguments)


@pytest.mark.parametrize(
    "realm, error", [('a"b', ValueError), ("a\\b", ValueError), ("a\n", ValueError), ("é", ValueError), (1, TypeError)]
)
def test_a_realm_that_cannot_be_sent_is_refused(realm, error):
    with pytest.raises(error, match="realm"):
        basic_auth({}, realm=realm)


def test_a_server_lets_in_whom_it_knows():
    server = WebSocketServer(
        ("127.0.0.1", 0), lambda ws: ws.send(f"hello {ws.request.user}"), process_request=basic_auth(PASSWORDS)
    )
    with server:
        server.start()
        url = f"ws://127.0.0.1:{server.address[1]}"
        with connect(url, auth=("zoë", "naïve")) as ws:
            assert ws.recv(timeout=5) == "hello zoë"
        with pytest.raises(InvalidStatus) as caught:
            connect(url, auth=("zoë", "naive"))
        assert caught.value.response.status == 401
        assert caught.value.response.headers["WWW-Authenticate"].startswith("Basic ")
