"""Reports for tests, as servers write them: tasks that hold channels of sessions, and wait."""

from typing import Any

from chanlink.observing.graph.picture import Asked, Picture, picture
from chanlink.observing.graph.reading import Report, read


class Server:
    """What one server would tell."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.head: dict[str, Any] = {"process": number, "tasks": [], "pipes": [], "left_out": 0}
        self.sessions: dict[tuple[str, str], dict[str, Any]] = {}

    def task(self, id: int, *waits: tuple[str, str, str, int], **more: Any) -> None:
        """Each wait is a verb, and the session, the side and the number of the channel."""
        listed = [{"to": verb, "on": [[session, side, number]]} for verb, session, side, number in waits]
        task = {
            "id": id,
            "name": f"{self.name}{id}",
            "place": f"{self.name}.py:{id} in run",
            "waits": listed,
            "turn": 1,
        }
        self.head["tasks"].append({**task, **more})

    def end(self, session: str, side: str, number: int, *held_by: int, **more: Any) -> None:
        """This side of a channel of a session."""
        told = {"id": session, "side": side, "peer": "peer", "channels": []}
        channel = {"id": number, "held_by": list(held_by), "others": False, "onward": [], "service": "work", **more}
        self.sessions.setdefault((session, side), told)["channels"].append(channel)

    def pipe(self, number: int, sender: int, receiver: int, **more: Any) -> None:
        sides = {
            name: {"held_by": [task], "others": False} for name, task in (("sender", sender), ("receiver", receiver))
        }
        self.head["pipes"].append({"id": number, **sides, **more})

    def messages(self) -> list[Any]:
        return [self.head, *self.sessions.values()]

    def report(self) -> Report:
        return read(self.messages(), f"tcp://{self.name}")


def drawn(*servers: Server, everything: bool = False) -> Picture:
    asked = [Asked(f"tcp://{one.name}", (one.report(), one.report()), "") for one in servers]
    return picture(asked, everything=everything)


def two_that_wait(*, others: bool = False, limited: bool = False) -> tuple[Server, Server]:
    """Each sends to the other, and neither takes."""
    a, b = Server("a", 1), Server("b", 2)
    a.task(1, ("send", "s", "client", 1))
    b.task(1, ("send", "s", "server", 2), limited=limited)
    for number, sender, receiver in ((1, "client", "server"), (2, "server", "client")):
        sends, takes = (a, b) if sender == "client" else (b, a)
        sends.end("s", sender, number, 1, sent=1, untaken=1, capacity=0)
        takes.end("s", receiver, number, 1, arrived=5, capacity=0, others=others)
    return a, b
