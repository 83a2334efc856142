"""The body of a request to etcd."""

from chanlink import ConfigError

try:
    import httpx
except ImportError:
    raise ConfigError('etcd needs httpx: pip install "chanlink[etcd]"') from None


class Body(httpx.AsyncByteStream):
    """Read once. Those of httpx are generators: of one that a server has not read to its end trio complains."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        data, self._data = self._data, b""
        if not data:
            raise StopAsyncIteration
        return data
