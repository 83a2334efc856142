"""The JSON gateway of etcd, over httpx: the one client that works on asyncio and trio, and needs no gRPC."""

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio

from chanlink import ConfigError, StoreError

if TYPE_CHECKING:
    import httpx

PATIENCE = 8.0
"""Seconds that a request may take in all: an election among the servers takes one or two."""
ONE_TRY = 2.5
"""Seconds for which one server may be silent."""
PAUSE = 0.1
"""Seconds after which those that could not be reached are asked again."""
MAX_LINE = 64 * 1024 * 1024
"""Bytes of one answer in a stream. etcd sends what one transaction did in one of them."""
_UNAVAILABLE = (1, 2, 4, 14)
"""Codes of gRPC of what another server may do, or this one later: cancelled, unknown, too late, unavailable."""
_UNAUTHENTICATED = 16

Message = dict[str, Any]


class Gateway:
    """Servers of one etcd. `open` makes it usable, for one event loop."""

    def __init__(self, endpoints: Sequence[str], user: str, password: str, tls: ssl.SSLContext | None) -> None:
        try:
            import httpx

            from .body import Body
        except ImportError:
            raise ConfigError('etcd needs httpx: pip install "chanlink[etcd]"') from None
        self._httpx, self._body = httpx, Body
        self._endpoints = list(endpoints)
        self._login = {"name": user, "password": password} if user else None
        self._tls = tls
        self._token = ""
        self._connections: httpx.AsyncHTTPTransport | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connections are kept in this block."""
        verify = True if self._tls is None else self._tls
        # No proxies: what the environment says of the web does not hold for the machines of a cluster. And no client:
        # that tells the program's log of each request.
        async with self._httpx.AsyncHTTPTransport(verify=verify, trust_env=False) as connections:
            self._connections = connections
            try:
                yield
            finally:
                self._connections = None

    async def call(self, path: str, body: Mapping[str, Any], endpoint: str | None = None) -> Message:
        """The answer of one of the servers, or of this one. Raises `StoreError` when there is none in time.

        It may have been done several times then, or not at all.
        """
        problem: StoreError | None = None
        with anyio.move_on_after(PATIENCE):
            while True:
                for one in [endpoint] if endpoint is not None else list(self._endpoints):
                    try:
                        answer = await self._ask(one, path, body)
                    except _Unavailable as exc:
                        problem = StoreError(f"etcd can't do it: {exc}")
                        continue
                    self._prefer(one)
                    return answer
                if endpoint is not None:
                    break
                await anyio.sleep(PAUSE)
        raise problem or StoreError(f"etcd has not answered within {PATIENCE:g} s")

    def another(self, than: str | None) -> str:
        """The server to ask, unless it is that one and there are others."""
        if than in self._endpoints and than == self._endpoints[0]:
            self._endpoints.append(self._endpoints.pop(0))
        return self._endpoints[0]

    def _prefer(self, endpoint: str) -> None:
        """Whoever has answered is asked first from now on."""
        if self._endpoints[0] != endpoint:
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)

    @asynccontextmanager
    async def stream(self, endpoint: str, path: str, body: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[Message]]:
        """The answers of this server to one request, without end. Raises `StoreError`, also while they are read."""
        headers = await self._headers(endpoint)
        try:
            response = await self._send(endpoint, path, body, headers, silent=None)
            try:
                if response.status_code != 200:
                    raise StoreError(f"etcd can't do it: status {response.status_code}")
                async with aclosing(_messages(response, self._httpx.HTTPError)) as messages:
                    yield messages
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        except self._httpx.HTTPError as exc:
            raise StoreError(f"etcd is not there any more: {exc or type(exc).__name__}") from exc

    def check_open(self) -> None:
        """Raise `StoreError` outside of the block."""
        assert self._opened

    @property
    def _opened(self) -> "httpx.AsyncHTTPTransport":
        if self._connections is None:
            raise StoreError("the store is closed")
        return self._connections

    async def _send(
        self,
        endpoint: str,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        silent: float | None,
    ) -> "httpx.Response":
        """The beginning of an answer. The server may be ``silent`` for so long, also later."""
        timeout = self._httpx.Timeout(ONE_TRY, read=silent).as_dict()
        request = self._httpx.Request(
            "POST", endpoint + path, json=dict(body), headers=headers, extensions={"timeout": timeout}
        )
        request.stream = self._body(request.content)
        return await self._opened.handle_async_request(request)

    async def _ask(self, endpoint: str, path: str, body: Mapping[str, Any]) -> Message:
        headers = await self._headers(endpoint)
        answer, status = await self._post(endpoint, path, body, headers)
        if status == 200:
            return answer
        code, text = answer.get("code"), str(answer.get("message") or answer.get("error") or f"status {status}")
        if code == _UNAUTHENTICATED and headers:  # tokens live for some minutes
            self._token = ""
            raise _Unavailable(text)
        if code in _UNAVAILABLE or code is None:
            raise _Unavailable(text)
        raise StoreError(f"etcd refuses: {text:.200}")

    async def _headers(self, endpoint: str) -> dict[str, str]:
        if self._login is None:
            return {}
        if not self._token:
            answer, status = await self._post(endpoint, "/v3/auth/authenticate", self._login, {})
            if status != 200:
                raise StoreError(f"etcd does not let us in: {answer.get('message') or answer.get('error')!s:.200}")
            self._token = str(answer.get("token", ""))
        return {"Authorization": self._token}

    async def _post(
        self, endpoint: str, path: str, body: Mapping[str, Any], headers: dict[str, str]
    ) -> tuple[Message, int]:
        try:
            response = await self._send(endpoint, path, body, headers, silent=ONE_TRY)
            try:
                await response.aread()
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
            answer = response.json()
        except self._httpx.HTTPError as exc:
            raise _Unavailable(str(exc) or type(exc).__name__) from exc
        except ValueError as exc:
            raise _Unavailable(f"no answer of etcd's, but status {response.status_code}") from exc
        if not isinstance(answer, dict):
            raise _Unavailable("no answer of etcd's")
        return answer, response.status_code


class _Unavailable(Exception):
    """This server could not do it; another one may, or this one later."""


async def _messages(response: "httpx.Response", broken: type[Exception]) -> AsyncGenerator[Message, None]:
    line, parts = bytearray(), response.aiter_raw()
    try:
        async for part in parts:
            for piece in part.splitlines(keepends=True):
                line += piece
                if len(line) > MAX_LINE:
                    raise StoreError("etcd says too much at once")
                if piece.endswith(b"\n"):
                    yield _message(line)
                    line.clear()
    except broken as exc:
        raise StoreError(f"etcd is not there any more: {exc or type(exc).__name__}") from exc
    finally:
        await _end(response, parts)
    raise StoreError("etcd has ended what it was telling")


async def _end(response: "httpx.Response", parts: AsyncIterator[bytes]) -> None:
    """httpx has generators within generators; unless they end by themselves, trio complains of each."""
    with anyio.CancelScope(shield=True), anyio.move_on_after(ONE_TRY), suppress(Exception):
        await response.aclose()
        while True:
            await anext(parts)


def _message(line: bytearray) -> Message:
    try:
        message = json.loads(line)
    except ValueError as exc:
        raise StoreError("etcd tells what is no JSON") from exc
    result = message.get("result") if isinstance(message, dict) else None
    if not isinstance(result, dict):
        raise StoreError(f"etcd does not tell any more: {message!r:.200}")
    return result
