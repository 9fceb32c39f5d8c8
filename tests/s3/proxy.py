"""A bad network before an object store: what happens to each request is decided by a plan, and the store itself is a real one."""

from __future__ import annotations

import asyncio
import io
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

ERRORS = {
    "SlowDown": 503, "TooManyRequests": 429, "InternalError": 500, "ExpiredToken": 403, "AccessDenied": 403, "RequestTimeTooSkewed": 403,
    "AuthorizationHeaderMalformed": 400, "QuotaExceeded": 403,
}  # fmt: skip  # what is answered without asking the server
NOTHING = "<?xml version='1.0'?><ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
OWN = {"connection", "keep-alive", "transfer-encoding", "expect"}  # headers of one hop; all others are passed on, Host too: SigV4 covers it


@dataclass(frozen=True)
class Fault:
    """What befalls a request. `kind` is a code of `ERRORS`, or one of these:

    delay   it is passed on after `seconds`
    reset   the connection is reset, the server hears nothing
    lost    the server does it, and the connection is reset instead of an answer
    cut     the connection ends after that `part` of the answer's body; as `lost` where it has none
    stall   no byte comes any more after that `part` of the answer's body; no answer where it has none; 0: nor does the server hear anything
    blind   a listing that has nothing: how a store looks that lists late
    hidden  the answer is 200, its body says InternalError: how S3 tells that completing an upload failed
    up      one byte of the request's body, at that `part`, reaches the server changed
    down    one byte of the answer's body does not come as it was sent
    """

    kind: str
    seconds: float = 0.0
    part: float = 0.5


Plan = Callable[[str, str, Mapping[str, str], Mapping[str, str]], Fault | None]  # plan(method, path, query, headers)


def clear(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> None:
    """A good network."""


def seeded(seed: object, likely: Mapping[str, float], slow: float = 0.2) -> Plan:
    """Faults by chance: {kind: how likely}. The n-th request of one kind for one name meets the same in every run, whatever runs beside it."""
    counts: Counter[tuple[str, ...]] = Counter()

    def plan(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Fault | None:
        what = (method, re.sub(r"[0-9a-f]{12,}", "*", path), *sorted(set(query) - {"uploadId"}))
        counts[what] += 1
        chance = random.Random(f"{seed} {what} {counts[what]}")
        drawn = chance.random()
        for kind, share in likely.items():
            if (drawn := drawn - share) < 0:
                kind = kind if kind != "hidden" or (method == "POST" and "uploadId" in query) else "InternalError"
                return Fault(kind, chance.uniform(0, slow), chance.choice([0.0, chance.random()]))
        return None

    return plan


class Proxy:
    """Listens on `port` for the server on another one. A plan runs in a thread of its own, and may wait."""

    def __init__(self, server: int, plan: Plan = clear) -> None:
        self.server, self.plan = server, plan
        self.port, self._refuses = 0, False
        self.requests, self.faults = Counter[str](), Counter[str]()  # by method; by kind
        self._loop = asyncio.new_event_loop()
        self._threads = ThreadPoolExecutor(64, "plan")
        self._site: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def refuse(self) -> None:
        """Take no more connections, and end those that are there, until `listen`."""
        self._refuses = True
        self._do(self._site.stop())

    def listen(self) -> None:
        """Take connections, on the same port as before."""
        self._refuses = False
        self._do(self._listen())

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _begin(self) -> None:
        self._client = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(None), connector=aiohttp.TCPConnector(limit=0))
        self._runner = web.ServerRunner(web.Server(self._pass_on, access_log=None), shutdown_timeout=0.0)
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = listener.getsockname()[1]
        self._site = web.SockSite(self._runner, listener)
        await self._site.start()

    async def _end(self) -> None:
        await self._runner.cleanup()
        await self._client.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _pass_on(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._met(request)
        except (aiohttp.ClientError, ConnectionError):  # the server went away, or the client
            return reset(request)

    async def _met(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests[request.method] += 1
        where = (request.method, request.path, dict(request.query), dict(request.headers))
        fault = await self._loop.run_in_executor(self._threads, self.plan, *where) or Fault("")
        self.faults[fault.kind] += 1
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        elif fault.kind == "reset" or self._refuses:
            return reset(request)
        elif fault.kind == "stall" and not fault.part:
            return await silence(request)
        elif fault.kind in ERRORS or fault.kind in ("hidden", "blind"):
            return refusal(fault.kind)
        body = await body_of(request)
        if fault.kind == "up" and body:
            body[int(fault.part * len(body))] ^= 1
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in OWN]
        url = URL(f"http://127.0.0.1:{self.server}{request.raw_path}", encoded=True)
        silent = ("User-Agent", "Content-Type", "Accept", "Accept-Encoding")
        given = {"headers": headers, "data": io.BytesIO(body), "skip_auto_headers": silent, "allow_redirects": False}
        async with self._client.request(request.method, url, **given) as answer:
            return await self._answer(request, answer, fault)

    async def _answer(self, request: web.BaseRequest, answer: aiohttp.ClientResponse, fault: Fault) -> web.StreamResponse:
        bare = request.method == "HEAD" or not answer.content_length
        if fault.kind == "lost" or (fault.kind == "cut" and bare):
            await answer.read()
            return reset(request)
        if fault.kind == "stall" and bare:
            return await silence(request)
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in OWN}
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        await response.prepare(request)
        special, done = int(fault.part * (answer.content_length or 0)), 0
        async for piece in answer.content.iter_any():
            here = special - done
            if fault.kind in ("cut", "stall", "down") and 0 <= here < len(piece):
                if fault.kind == "down":
                    piece = piece[:here] + bytes([piece[here] ^ 1]) + piece[here + 1 :]
                else:
                    await response.write(piece[:here])
                    return reset(request) if fault.kind == "cut" else await silence(request)
            await response.write(piece)
            done += len(piece)
        await response.write_eof()
        return response


async def body_of(request: web.BaseRequest) -> bytearray:
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # nothing of the answer was sent yet
    request._client_max_size = 1 << 30
    return bytearray(await request.read())


def refusal(kind: str) -> web.StreamResponse:
    code = "InternalError" if kind == "hidden" else kind
    told = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy of a test</Message></Error>"
    answer = web.Response(status=ERRORS.get(kind, 200), text=NOTHING if kind == "blind" else told, content_type="application/xml")
    answer.force_close()  # what is still to come of the request's body is nothing that could be taken for another request
    return answer


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """The connection ends at once; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def silence(request: web.BaseRequest) -> web.StreamResponse:
    """Nothing, for as long as the client waits."""
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.02)
    return web.Response()


@contextmanager
def proxied(server: int, plan: Plan = clear) -> Iterator[Proxy]:
    """A proxy before the server on a port, for as long as the block lasts."""
    proxy = Proxy(server, plan)
    thread = threading.Thread(target=proxy._loop.run_forever, name="proxy", daemon=True)
    thread.start()
    proxy._do(proxy._begin())
    try:
        yield proxy
    finally:
        proxy._do(proxy._end())
        proxy._loop.call_soon_threadsafe(proxy._loop.stop)
        thread.join()
        proxy._loop.close()
        proxy._threads.shutdown(wait=False)
