"""Two servers with traces, each a process: ``python -m tests.observing.traced gateway|server FOLDER``.

Spans are written to a file, one in each line.
"""

import signal
import sys
from pathlib import Path
from typing import Any, Protocol

import anyio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import chanlink
from chanlink import Identity, Interface, Peer, Receiver, Sender, Trust
from chanlink.observing.opentelemetry import Traces
from tests.patience import PATIENCE


class Gateway(Protocol):
    async def pass_on(self, reply: Sender[Any]) -> str: ...


GATEWAY: Interface[Gateway] = Interface(Gateway)


async def main(name: str, folder: Path) -> None:
    identities = {one: Identity.load(folder / one) for one in ("client", "gateway", "server")}
    provider = TracerProvider()
    with (folder / f"{name}.spans").open("w") as file:
        exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer, traces = provider.get_tracer("program"), Traces(provider)

        async def deliver(receiver: Receiver[Any], peer: Peer) -> None:
            async for message in receiver:
                with tracer.start_as_current_span("work"):
                    async with message["reply"] as reply:
                        await reply.send("from the server")

        class OneGateway:
            async def pass_on(self, reply: Sender[Any]) -> str:
                async with (
                    chanlink.connect(
                        f"unix:{folder}/server.socket",
                        identity=identities["gateway"],
                        peer=identities["server"].public_key,
                        wait=PATIENCE,
                        instruments=[traces],
                    ) as session,
                    await session.open("deliver") as sender,
                ):
                    await sender.send({"reply": reply})
                    await sender.flush()
                return "passed on"

        services: chanlink.Services = (
            {"deliver": deliver} if name == "server" else {"gateway": GATEWAY.serving(OneGateway())}
        )
        await chanlink.serve(
            services,
            f"unix:{folder}/{name}.socket",
            identity=identities[name],
            trust=Trust.of(*(one.public_key for one in identities.values())),
            instruments=[traces],
            signals=[signal.SIGTERM],
        )


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]))
