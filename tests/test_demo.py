"""The demo: its page, its chat, and the whole in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import browser
import pytest
from browser import Browser
from programs import Program

from geventws import ConnectionClosed, InvalidStatus, Request, WebSocket, connect
from geventws.demo import FILES, HISTORY, MAX_NAME, MAX_TEXT, page, server

DEADLINE = 10
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}


@pytest.fixture
def url() -> Iterator[str]:
    with server("127.0.0.1", 0) as demo:
        demo.start()
        yield f"ws://127.0.0.1:{demo.address[1]}"


class TestPage:
    @pytest.mark.parametrize("path", FILES)
    def test_each_file_is_served_with_its_type(self, path: str) -> None:
        name, content_type = FILES[path]
        response = page(Request("GET", path))
        assert response is not None
        assert response.status == 200
        assert response.headers["Content-Type"] == content_type
        assert response.body == files("geventws.demo").joinpath(name).read_bytes()

    def test_the_query_does_not_matter(self) -> None:
        response = page(Request("GET", "/?from=somewhere"))
        assert response is not None
        assert response.status == 200

    @pytest.mark.parametrize("path", FILES)
    def test_it_names_no_file_that_is_not_served_and_nothing_elsewhere(self, path: str) -> None:
        text = files("geventws.demo").joinpath(FILES[path][0]).read_text(encoding="utf-8")
        named = re.findall(r'(?:href|src)="([^"]+)"|from "([^"]+)"|new Worker\("([^"]+)"', text)
        assert {name for names in named for name in names if name} <= set(FILES)
        assert set(re.findall(r"https?://[^\s\"`]*", text)) <= {"http://www.w3.org/2000/svg"}

    def test_every_file_of_the_page_is_served(self) -> None:
        there = {file.name for file in files("geventws.demo").iterdir() if not file.name.startswith("__")}
        assert there == {name for name, _ in FILES.values()}

    def test_other_paths_are_not_found(self) -> None:
        for request in (Request("GET", "/__init__.py"), Request("GET", "/", UPGRADE)):
            response = page(request)
            assert response is not None
            assert response.status == 404

    def test_it_can_only_be_read(self) -> None:
        response = page(Request("POST", "/"))
        assert response is not None
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")

    @pytest.mark.parametrize("path", ["/chat", "/echo"])
    def test_an_opening_handshake_is_left_to_the_server(self, path: str) -> None:
        assert page(Request("GET", path, UPGRADE)) is None


def told(ws: WebSocket) -> Any:
    return ws.recv_json(timeout=DEADLINE)


def come_in(url: str, name: str) -> WebSocket:
    """Enter the chat; the history and the own arrival have been read."""
    ws = connect(f"{url}/chat")
    ws.send_json({"name": name})
    assert told(ws)["event"] == "history"
    assert told(ws)["event"] == "joined"
    return ws


class TestChat:
    def test_everybody_is_told_who_joins_speaks_and_leaves(self, url: str) -> None:
        with come_in(url, "Ada") as ada:
            with come_in(url, " Grace ") as grace:
                assert told(ada) == {"event": "joined", "count": 2, "name": "Grace"}
                grace.send_json({"text": "hello"})
                for ws in (ada, grace):
                    said = told(ws)
                    assert said.pop("time") > 0
                    assert said == {"event": "said", "count": 2, "name": "Grace", "text": "hello"}
            assert told(ada) == {"event": "left", "count": 1, "name": "Grace"}

    def test_a_new_name_is_told_and_the_same_one_again_is_not(self, url: str) -> None:
        with come_in(url, "Ada") as ada:
            for name in ("Ada", "Countess"):
                ada.send_json({"name": name})
            assert told(ada) == {"event": "renamed", "count": 1, "old": "Ada", "name": "Countess"}

    def test_who_comes_later_is_told_what_was_said_last(self, url: str) -> None:
        with come_in(url, "Ada") as ada:
            for number in range(HISTORY + 1):
                ada.send_json({"text": str(number)})
                told(ada)
            with connect(f"{url}/chat") as late:
                late.send_json({"name": "Grace"})
                history = told(late)["said"]
        assert [said["text"] for said in history] == [str(number) for number in range(1, HISTORY + 1)]

    def test_names_and_texts_are_cut_to_their_limits(self, url: str) -> None:
        with connect(f"{url}/chat") as ada:
            ada.send_json({"name": "A" * (MAX_NAME + 1)})
            told(ada)
            assert told(ada)["name"] == "A" * MAX_NAME
            ada.send_json({"text": "x" * (MAX_TEXT + 1)})
            assert told(ada)["text"] == "x" * MAX_TEXT

    @pytest.mark.parametrize(
        "message",
        ["no JSON", "[]", "1", '"name"', "{}", '{"name": 1}', '{"name": " "}', '{"text": ["a"]}', b"\xff", "[" * 10**5],
    )
    def test_whoever_says_something_else_has_to_leave(self, url: str, message: str | bytes) -> None:
        with come_in(url, "Ada") as ada, come_in(url, "Mallory") as mallory:
            told(ada)
            mallory.send(message)
            assert told(ada)["event"] == "left"
            with pytest.raises(ConnectionClosed) as caught:
                told(mallory)
        assert caught.value.code == 1008

    def test_nobody_speaks_before_coming_in(self, url: str) -> None:
        with connect(f"{url}/chat") as ws:
            ws.send_json({"text": "hello"})
            with pytest.raises(ConnectionClosed) as caught:
                told(ws)
        assert caught.value.code == 1008

    def test_a_tab_that_goes_without_a_word_has_left(self, url: str) -> None:
        with come_in(url, "Ada") as ada:
            grace = come_in(url, "Grace")
            told(ada)
            grace.terminate()
            assert told(ada) == {"event": "left", "count": 1, "name": "Grace"}


def test_the_echo_socket_sends_everything_back(url: str) -> None:
    with connect(f"{url}/echo") as ws:
        ws.send("hello")
        assert ws.recv(timeout=DEADLINE) == "hello"


def test_pages_of_other_sites_are_kept_out(url: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(f"{url}/chat", origin="https://example.com")
    assert caught.value.response.status == 403


@pytest.mark.skipif(browser.EXECUTABLE is None, reason="there is no Chromium")
@pytest.mark.timeout(120)
def test_in_a_browser_tabs_talk_to_each_other_and_the_charts_move() -> None:
    with Program("-m", "geventws", "demo", "--port", "0") as program, Browser() as chromium:
        url = program.address()
        one, other = chromium.open(url), chromium.open(url)
        for tab in (one, other):
            tab.wait_for("document.querySelector('#count').textContent === '2'")
        one.type_into("#name", "Ada")
        other.wait_for("document.querySelector('#log').textContent.includes(' is now Ada')")
        one.type_into("#text", "hello, other tab")
        said = other.wait_for("document.querySelector('#log .said')?.innerText")
        assert said.split("\n")[0].startswith("A")
        assert "Ada" in said
        assert said.endswith("hello, other tab")

        for chart in ("latency", "rate"):
            points = f"Number(document.querySelector('#{chart}').dataset.points)"
            drawn = f"document.querySelector('#{chart}').toDataURL()"
            seen, picture = one.wait_for(points), one.evaluate(drawn)
            one.wait_for(f"{points} >= {seen + 5} && {drawn} !== {json.dumps(picture)}")
        assert one.evaluate("Number(document.querySelector('#latency-now').textContent) > 0")

        one.evaluate("document.querySelector('#burst').click()")
        result = one.wait_for(
            "/[\\d,]+ messages there and back/.exec(document.querySelector('#burst-note').textContent)[0]"
        )
        assert int(result.partition(" ")[0].replace(",", "")) > 1000

        program.signal()
        one.wait_for("document.querySelector('#status').textContent === 'the server has stopped'")
        assert program.finish() == (0, "", "")
