from __future__ import annotations

import subprocess
import sys
from http.cookiejar import CookieJar, DefaultCookiePolicy

import pytest

from geventws import InvalidStatus, Response, WebSocketServer, connect
from geventws.cookies import checked_jar, keep_cookies, send_cookies
from geventws.http11 import Request
from geventws.url import parse_url


def sent(jar, url, headers=None):
    request = Request(headers=headers)
    send_cookies(jar, parse_url(url), request)
    return request.headers.get("Cookie")


def jar_of(url, *cookies):
    jar = CookieJar()
    keep_cookies(jar, parse_url(url), Response(101, headers=[("Set-Cookie", cookie) for cookie in cookies]))
    return jar


def test_what_a_host_has_set_is_sent_to_it():
    jar = jar_of("ws://example.com/a", "one=1", "two=2; Path=/")
    assert set(sent(jar, "ws://example.com/b").split("; ")) == {"one=1", "two=2"}


@pytest.mark.parametrize("url", ["ws://example.com/", "http://example.com:8080/", "wss://example.com/"])
def test_scheme_and_port_do_not_matter(url):
    assert sent(jar_of("ws://example.com/", "a=1"), url) == "a=1"


def test_nothing_is_sent_to_another_host():
    assert sent(jar_of("ws://example.com/", "a=1"), "ws://example.org/") is None


def test_a_secure_cookie_needs_tls():
    jar = jar_of("wss://example.com/", "a=1; Secure")
    assert sent(jar, "wss://example.com/") == "a=1"
    assert sent(jar, "ws://example.com/") is None


@pytest.mark.parametrize("url", ["ws://127.0.0.1:8000/", "ws://[::1]:8000/", "ws://localhost/", "ws+unix:/tmp/s:/"])
def test_hosts_without_a_domain_have_cookies_too(url):
    assert sent(jar_of(url, "a=1"), url) == "a=1"


def test_a_given_header_is_sent_instead():
    jar = jar_of("ws://example.com/", "a=1")
    assert sent(jar, "ws://example.com/", {"cookie": "mine=1"}) == "mine=1"


def test_the_policy_of_the_jar_decides():
    jar = CookieJar(DefaultCookiePolicy(blocked_domains=["example.com"]))
    keep_cookies(jar, parse_url("ws://example.com/"), Response(101, headers={"Set-Cookie": "a=1"}))
    assert len(jar) == 0


def test_an_answer_that_sets_nothing_leaves_the_jar():
    jar = jar_of("ws://example.com/", "a=1")
    keep_cookies(jar, parse_url("ws://example.com/"), Response(200))
    assert len(jar) == 1


def test_what_is_no_jar_is_a_type_error():
    assert checked_jar(None) is None
    with pytest.raises(TypeError, match=r"cookies is an http\.cookiejar\.CookieJar"):
        connect("ws://127.0.0.1:1/", cookies={"a": "1"})


def test_a_server_knows_its_client_again_also_behind_a_redirect_and_a_refusal():
    def process_request(request):
        seen.append(request.headers.get("Cookie"))
        if request.path == "/login":
            return Response(302, headers={"Location": "/chat", "Set-Cookie": "session=1"})
        if request.path == "/busy":
            return Response(503, headers={"Set-Cookie": "seen=1"})
        return None

    def process_response(request, response):
        response.headers.add("Set-Cookie", "visits=1")

    seen = []
    jar = CookieJar()
    hooks = {"process_request": process_request, "process_response": process_response}
    with WebSocketServer(("127.0.0.1", 0), lambda ws: None, **hooks) as server:
        server.start()
        url = f"ws://127.0.0.1:{server.address[1]}"
        connect(f"{url}/login", cookies=jar, max_redirects=1).close()
        with pytest.raises(InvalidStatus):
            connect(f"{url}/busy", cookies=jar)
    assert seen == [None, "session=1", "session=1; visits=1"]
    assert {cookie.name for cookie in jar} == {"session", "visits", "seen"}


def test_who_gives_no_jar_does_not_import_urllib():
    code = "import sys, geventws.cookies; sys.exit('http.cookiejar' in sys.modules or 'urllib.request' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
