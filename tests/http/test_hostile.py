"""Whatever a client sends, it is never the server's fault, and the answer is one that the API description tells of."""

from __future__ import annotations

import asyncio
import json
import logging
import random

import pytest

from tests.http.house import API, FRAGMENT, OFFER, SDP, House, _fits, described, run

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]
PATHS = [
    *(
        "/",
        "/whip",
        "/whip?profile=help",
        "/whip?profile=%00&profile=%ff",
        "/whip/",
        "/whip/x",
        "/whip/{live}",
        "/v1",
        "/v1/",
        "/v1/calls",
    ),
    *(
        "/v1/calls/{live}",
        "/v1/calls/x/hangup",
        "/v1/calls/{live}/hangup",
        "/v1/profiles",
        "/v1/openapi.yaml",
        "/livez",
        "/readyz",
    ),
    *("/call.js", "/favicon.ico", "/nothing.txt", "/a/b/c", "/%2e%2e/x.y", "//", "/whip//x", "/v1/calls/%0d%0aX:y"),
]
HEADERS: list[dict[str, str]] = [
    *({}, SDP, FRAGMENT, FRAGMENT | {"If-Match": '"ice-1"'}, FRAGMENT | {"If-Match": "*"}, FRAGMENT | {"If-Match": '"'}),
    *({"Content-Type": "application/sdp; charset=x"}, {"Content-Type": ";;;"}, {"Origin": "null"}, {"Authorization": "Bearer"}),
    *({"Expect": "100-continue"} | SDP, {"If-None-Match": "*"}, {"Range": "bytes=5-1"}, {"Content-Encoding": "gzip"} | SDP),
]
BODIES = [
    b"",
    OFFER,
    OFFER[:500],
    b"\xff" * 100,
    b"a=ice-ufrag:8agw\r\n",
    b"v=0\r\n",
    b"{}",
    b"\x1f\x8b" + bytes(50),
    b"x" * 70_000,
]


@pytest.mark.parametrize("seed", range(4))
def test_any_request(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    draw = random.Random(seed)

    async def body(gateway: House) -> None:
        for _ in range(120):
            if not gateway.registry.calls():
                await gateway.call()
            live = gateway.registry.calls()[0].call_id
            path = draw.choice(PATHS).replace("{live}", live)
            method, headers, sent = draw.choice(METHODS), draw.choice(HEADERS), draw.choice(BODIES)
            response = await gateway.http.request(method, path, headers=headers, data=sent, allow_redirects=False)
            case = (method, path, headers, sent[:30], response.status)
            assert response.status < 500 or response.status == 503, case
            if response.status >= 400 and method != "HEAD":
                assert response.content_type == "application/problem+json", case
            template = next((each for each in API["paths"] if _fits(each, response.url.path)), None)
            if template is not None and method.lower() in API["paths"][template] and response.status != 417:
                await described(response)

    run(body, max_calls=2)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /whip HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/sdp\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
        b"\r\n" * 50 + b"\0",
    ],
)
def test_what_is_hardly_http(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def body(gateway: House) -> None:
        url = gateway.http._base_url
        assert url is not None
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(raw)
        writer.write_eof()
        answer = await reader.read()
        assert not answer or b" 4" in answer.split(b"\r\n")[0], answer
        assert not answer or b"application/problem+json" in answer, answer
        assert b"Traceback" not in answer
        writer.close()
        assert (await gateway.http.get("/livez")).status == 200

    run(body)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_bug_is_still_told(caplog: pytest.LogCaptureFixture) -> None:
    async def body(gateway: House) -> None:
        gateway.fail = ZeroDivisionError("canary")
        response = await gateway.call()
        assert (response.status, response.content_type) == (500, "application/problem+json")
        told = await response.text()
        assert json.loads(told)["code"] == "internal_error"
        assert "canary" not in told
        assert "Traceback" not in told

    run(body)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info
    assert isinstance(record.exc_info[1], ZeroDivisionError)
