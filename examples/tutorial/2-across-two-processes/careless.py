# careless.py
import anyio
import chanlink


async def main() -> None:
    async with (
        chanlink.connect(
            "tcp://127.0.0.1:9323",
            identity=chanlink.Identity.load("alice"),
            peer=chanlink.PublicKey.load("library_key.pub"),
        ) as session,
        await session.open("search") as library,
    ):
        found, answers = chanlink.pipe()
        await library.send({"wrod": "sea", "found": found})
        async for answer in answers:
            print(answer)


anyio.run(main)
