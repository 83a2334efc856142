"""The service: executes what trusted peers ask for.

    async with service() as rexec:
        services = {SERVICE: chanlink.service(rexec, enforces=ENFORCES)}
        await chanlink.serve(services, "tcp://127.0.0.1:9323", trust=...)

Without a policy, whoever may use it may run anything that this process may run.

The status sender is the life-line of a command: when its receiver is gone, because the caller left, was killed or lost
its connection, the command is stopped.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

import chanlink

from ..logs import logger
from ..messages import (
    BAD_REQUEST,
    CANCELLED,
    REFUSED,
    SERVICE,
    STOPPED,
    TOO_LONG,
    Attach,
    BadMessage,
    Kill,
    Listing,
    Request,
    Run,
    StartError,
    ends_in,
    error_message,
    read_request,
    status_message,
)
from ..peers import owner_of
from ..policy.file import PolicyFile
from ..policy.order import Order
from ..policy.policy import Policy, Rule
from ..words import one_line, shell_line
from .attending import attend, collect, follow, kill
from .audit import Account, Audit
from .detached import Detached, Table
from .process import GRACE, GuardLost, Process
from .starter import Starter

__all__ = ["ENFORCES", "SERVICE", "Handler", "Service", "service"]

ENFORCES = ("force-command",)
"""The restrictions of credentials that it sees to; copies see to none."""

Handler = Callable[[chanlink.Receiver[Any], chanlink.Peer], Awaitable[None]]


@asynccontextmanager
async def service(
    policy: Policy | PolicyFile | None = None, audit: Audit | None = None, grace: float = GRACE
) -> AsyncGenerator["Service", None]:
    """The handler to serve under the name `SERVICE`.

    The file of a policy is read again when it changes. Without a policy, whoever may use the service may run anything.
    ``grace`` is the time in seconds between TERM and KILL for commands that are stopped.
    Leave the block after the sessions have ended: commands that run detached are stopped then. To have callers told
    that it was the server, call `Service.stop` before the sessions end.
    """
    failure: BaseException | None = None
    async with Starter(grace) as starter, anyio.create_task_group() as background:
        if isinstance(policy, PolicyFile):
            background.start_soon(policy.watch)
        try:
            yield Service(starter, background, policy or Policy.anything(), audit or Audit())
        except Exception as exc:  # the task group would wrap it
            failure = exc
        background.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Service:
    """A `Handler`. Made by `service`."""

    def __init__(self, starter: Starter, background: TaskGroup, policy: Policy | PolicyFile, audit: Audit) -> None:
        self._starter = starter
        self._background = background
        self._policy = policy
        self._audit = audit
        self._detached = Table()
        self._running: Counter[str] = Counter()
        self._stops: set[anyio.CancelScope] = set()
        self._all_stopped: anyio.Event | None = None

    async def stop(self) -> None:
        """Stop whatever somebody is waiting for, and tell them; the same for whatever is asked for from now on.

        Returns when all is stopped: after the grace, if there are commands that do not end by themselves.
        """
        self._all_stopped = anyio.Event()
        for scope in self._stops:
            scope.cancel()
        if self._stops:
            await self._all_stopped.wait()

    @contextmanager
    def _stoppable(self) -> Iterator[anyio.CancelScope]:
        with anyio.CancelScope() as scope:
            if self._all_stopped is not None:
                scope.cancel()
            self._stops.add(scope)
            try:
                yield scope
            finally:
                self._stops.discard(scope)
                if self._all_stopped is not None and not self._stops:
                    self._all_stopped.set()

    async def __call__(self, requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        """Serve a channel, which brings one request. Returns when that is answered; cancelled: its command is stopped.

        What becomes of the channel then does not matter: by its own ends a command learns whether somebody waits.
        """
        try:
            request = _read(await requests.receive(), requests, peer)
        except chanlink.ChanlinkError as exc:
            logger.info("%s: no request: %s", peer.name, one_line(str(exc)))
            return
        if request is not None:
            await self._answer(request, peer)

    async def _answer(self, request: Request, peer: chanlink.Peer) -> None:
        try:
            async with AsyncExitStack() as ends:
                for end in ends_in(request):
                    await ends.enter_async_context(end)
                with self._stoppable() as scope:
                    await self._act_and_tell(request, peer)
                if scope.cancelled_caught:
                    request.status.fail(STOPPED, "the server was stopped, and what it ran")
        except chanlink.ChannelBroken as exc:
            logger.info("%s: nobody waits for the status: %s", peer.name, one_line(str(exc)))

    async def _act_and_tell(self, request: Request, peer: chanlink.Peer) -> None:
        try:
            answer = await self._act(request, peer)
        except StartError as exc:
            answer = error_message(exc)
        except GuardLost as exc:
            logger.error("%s: %s", peer.name, exc)
            request.status.fail("guard-lost", "how the command ended is not known")
            return
        try:
            await request.status.send(answer)
        except chanlink.MessageError as exc:
            await request.status.send(error_message(StartError(TOO_LONG, f"the answer is too long: {exc}")))

    async def _act(self, request: Request, peer: chanlink.Peer) -> dict[str, Any]:
        owner = owner_of(peer)
        if (
            not isinstance(request, Run)
            and peer.issued is not None
            and peer.issued.credential.force_command is not None
        ):
            raise StartError(REFUSED, "the caller's credential allows to run its one command, and nothing else")
        match request:
            case Run(streams=None):
                entry: Detached = await self._background.start(self._run_detached, request, peer, owner)
                return {"detached": entry.name}
            case Run():
                return await self._run(request, peer, owner)
            case Attach():
                return await follow(request, self._detached.get(owner, request.name))
            case Kill():
                await kill(self._detached.get(owner, request.name), request.number)
                return {"killed": request.name}
            case Listing():
                return {"commands": self._detached.rows_of(owner)}

    # --- a command ---

    async def _run(self, run: Run, peer: chanlink.Peer, owner: str) -> dict[str, Any]:
        """Run a command to its end; returns its status message."""
        account = self._audit.account(run, peer)
        order, rule = self._decide(run, peer, account)
        streams = run.streams
        assert streams is not None
        with self._counted(owner, rule, account):
            process = await self._start(order, rule, account)
            run.forget_words()
            del order
            try:
                async with process:
                    await attend(process, streams, run.status)
            finally:
                stdio, stderr = streams.stdio.statistics(), streams.stderr.statistics()
                await account.ended(process.returncode, moved=(stdio.received, stdio.sent, stderr.sent))
        return _status(process)

    async def _run_detached(
        self, run: Run, peer: chanlink.Peer, owner: str, *, task_status: TaskStatus[Detached]
    ) -> None:
        account = self._audit.account(run, peer)
        order, rule = self._decide(run, peer, account)
        with self._counted(owner, rule, account):
            entry = self._detached.add(owner, run.detach or "", shell_line(run.argv))
            try:
                process = await self._start(order, rule, account, no_input=True)
            except BaseException:
                self._detached.remove(owner, entry)
                raise
            run.forget_words()
            del order
            entry.process = process
            task_status.started(entry)
            moved = [0, 0, 0]
            try:
                async with process:
                    with entry.scope:
                        await collect(process, entry, moved)
            finally:
                note = _note(process) or ("" if process.returncode is not None else "its end is not known")
                entry.end(process.returncode, note)
                await account.ended(process.returncode, moved=(moved[0], moved[1], moved[2]))

    def _decide(self, run: Run, peer: chanlink.Peer, account: Account) -> tuple[Order, Rule]:
        try:
            policy = self._policy.policy if isinstance(self._policy, PolicyFile) else self._policy
            rule = policy.rule_for(peer)
            return policy.decide(run, rule), rule
        except StartError as exc:
            account.refused(exc)
            raise

    @contextmanager
    def _counted(self, owner: str, rule: Rule, account: Account) -> Iterator[None]:
        """Counts the command among those that a key may have at once."""
        if self._running[owner] >= rule.at_once:
            error = StartError(REFUSED, f"the rule {rule.name} of the server's policy allows {rule.at_once} at once")
            account.refused(error)
            raise error
        self._running[owner] += 1
        try:
            yield
        finally:
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]

    async def _start(self, order: Order, rule: Rule, account: Account, *, no_input: bool = False) -> Process:
        await account.started(rule.name, rule.forced)
        try:
            return await self._starter.start(order, no_input=no_input)
        except StartError as exc:
            await account.ended(None, exc.code)
            raise
        except BaseException:
            await account.ended(None, CANCELLED)
            raise


def _status(process: Process) -> dict[str, Any]:
    if process.returncode is None:
        raise GuardLost("the end of a command is not known")
    return status_message(process.returncode, _note(process))


def _note(process: Process) -> str:
    return f"the command was stopped: its time of {process.time} s was up" if process.late else ""


def _read(message: object, requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> Request | None:
    """The request in a message, if it is one. Whatever else the message holds is not kept."""
    try:
        request = read_request(message)
    except BadMessage as exc:
        logger.warning("%s sent a bad request: %s", peer.name, exc)
        _reject(message, requests, str(exc))
        return None
    kept = list(ends_in(request))
    for end in ends_in(message):
        if not any(end is one for one in kept):
            end.close()
    return request


def _reject(message: object, requests: chanlink.Receiver[Any], problem: str) -> None:
    """Answer at the status sender, if there is one; else at the channel of requests, which is over then."""
    status = message.get("status") if isinstance(message, dict) else None
    if isinstance(status, chanlink.Sender):
        with suppress(chanlink.ChannelBroken, anyio.WouldBlock):
            status.send_nowait(error_message(StartError(BAD_REQUEST, problem)))
    else:
        requests.refuse(BAD_REQUEST, problem)
    for end in ends_in(message):
        end.close()
