"""Finds verdicts of a clock in the source of a test: on a busy machine they are wrong.

A test may wait (`patience.PATIENCE` bounds that), count work (`patience.lines_run`), or show that something does *not*
happen by itself (``move_on_after``, then ``assert scope.cancelled_caught``): slowness changes none of these.
"""

import ast
from collections.abc import Iterator

CLOCKS = {"current_time", "monotonic", "perf_counter", "process_time", "thread_time"}
"""Not ``time``, which certificates and log lines are dated by."""
CLOCKS |= {f"{name}_ns" for name in CLOCKS}
PATIENT = {"PATIENCE", "patience"}
WAITING = {"run", "check_output", "check_call", "communicate", "wait", "wait_for", "join", "create_connection"}
"""Calls whose ``timeout`` says when a test hangs; that of others, `chanlink.connect` above all, is what is tested."""


def verdicts(source: str) -> Iterator[tuple[int, str]]:
    """The lines that compare times, or that wait for so short that a busy machine fails them, and what is wrong."""
    tree = ast.parse(source)
    timed, patient = _names(tree)
    expected = {id(call) for node in ast.walk(tree) if _expects_timeout(node) for call in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and _reads(node, timed) and not _mentions(node, patient):
            yield node.lineno, "compares times: count work (tests/patience.py), or wait for what must happen"
        elif isinstance(node, ast.Call) and id(node) not in expected and _is_short(node):
            yield node.lineno, "waits for less than PATIENCE (tests/patience.py)"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and _mentions(node, {"cancelled_caught"}):
            yield node.lineno, "asserts that something took less than a time: use fail_after(PATIENCE)"


def _names(tree: ast.AST) -> tuple[set[str], set[str]]:
    """The names that hold times, and those of them that are as late as PATIENCE."""
    timed: set[str] = set()
    patient = set(PATIENT)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value and _reads(node.value, timed):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            timed |= names
            if _mentions(node.value, patient):
                patient |= names
    return timed, patient


def _reads(node: ast.AST, timed: set[str]) -> bool:
    """Whether an expression has a time in it."""
    return _mentions(node, timed) or any(
        isinstance(each, ast.Call) and not each.args and _name(each.func) in CLOCKS for each in ast.walk(node)
    )


def _mentions(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(each, ast.Name | ast.Attribute) and _name(each) in names for each in ast.walk(node))


def _is_short(call: ast.Call) -> bool:
    limits = [word.value for word in call.keywords if word.arg == "timeout"] if _name(call.func) in WAITING else []
    if _name(call.func) == "fail_after":
        limits = call.args
    return any(isinstance(limit, ast.Constant) and isinstance(limit.value, int | float) for limit in limits)


def _expects_timeout(node: ast.AST) -> bool:
    """``with pytest.raises(TimeoutError), anyio.fail_after(0.1)``: it is to be too short."""
    return isinstance(node, ast.With | ast.AsyncWith) and any(
        isinstance(item.context_expr, ast.Call)
        and _name(item.context_expr.func) == "raises"
        and any(_mentions(each, {"TimeoutError"}) for each in item.context_expr.args)
        for item in node.items
    )


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
