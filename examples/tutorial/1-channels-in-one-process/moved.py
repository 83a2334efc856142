# moved.py
import anyio
import chanlink


async def main() -> None:
    letters, letter_box = chanlink.pipe()
    found, answers = chanlink.pipe()
    async with letters, letter_box, answers:
        await letters.send({"word": "sea", "found": found})
        await found.send("here I am")


anyio.run(main)
