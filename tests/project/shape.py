"""What the layer test looks for in a source: imports, writes into other objects, questions about somebody's class."""

import ast
from collections.abc import Iterator

SETTERS = {"setattr", "delattr", "__setattr__"}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def imports(tree: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """Each module that is imported anywhere in a file of this package, also inside functions, and which name of it.

    The name is empty when the module itself is imported. Whether ``from . import codec`` names a module or something in
    one can't be seen here: it is given as a name.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def attributes_of(tree: ast.AST, module: str) -> set[str]:
    """The names that a file takes out of a module which it imported by ``import module``."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }


def attributes_in(cls: ast.ClassDef) -> set[str]:
    """What the methods of a class assign to ``self``, and its fields."""
    fields = {
        node.target.id for node in cls.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return fields | {
        node.attr
        for node in ast.walk(cls)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_one_of(node.value, {"self"})
    }


def attribute_of(target: str) -> str:
    """Which attribute it is that a write of `foreign_writes` is about: of ``core.feeds[feed]`` it is ``feeds``."""
    node = _unsubscripted(ast.parse(target, mode="eval").body)
    return node.attr if isinstance(node, ast.Attribute) else ""


def foreign_writes(tree: ast.AST) -> set[str]:
    """What is assigned or deleted of objects that are neither ``self``, ``cls``, nor made in the same function.

    ``core.feeds[feed] = None`` is one, too: it writes into what belongs to ``core``. Calls like
    ``core.feeds.clear()`` are not looked for.
    """
    return set(_foreign_writes(tree, {"self", "cls"}))


def _foreign_writes(scope: ast.AST, home: set[str]) -> Iterator[str]:
    home = home | _made_in(scope)
    for node in _inside(scope):
        if isinstance(node, FUNCTIONS):
            yield from _foreign_writes(node, home)
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            attribute = _unsubscripted(node)
            if isinstance(attribute, ast.Attribute) and not _is_one_of(attribute.value, home):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and _last_name(node.func) in SETTERS and not _is_one_of(node.args[0], home):
            yield f"{_last_name(node.func)}({ast.unparse(node.args[0])})"


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a scope; of the functions in it only themselves."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, FUNCTIONS):
            yield from _inside(child)


def _made_in(scope: ast.AST) -> set[str]:
    """The local names that hold nothing but objects which this scope made."""
    made: set[str] = set()
    other = (
        {arg.arg for arg in ast.walk(scope.args) if isinstance(arg, ast.arg)} if isinstance(scope, FUNCTIONS) else set()
    )
    for node in _inside(scope):
        pairs: list[tuple[ast.expr, ast.expr | None]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            pairs = [(node.optional_vars, node.context_expr)]
        elif isinstance(node, ast.For | ast.AsyncFor):
            other |= {each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)}
        for target, value in pairs:
            if isinstance(target, ast.Name) and value is not None:
                (made if _makes(value) else other).add(target.id)
            elif isinstance(target, ast.Tuple):
                other |= {each.id for each in target.elts if isinstance(each, ast.Name)}
    return made - other


def _makes(value: ast.expr) -> bool:
    """Whether an expression is a new object: ``Stream(...)``, ``cls(...)``, ``type(self)(...)``, or by ``__new__``."""
    if not isinstance(value, ast.Call):
        return False
    if isinstance(value.func, ast.Call):
        return _last_name(value.func.func) == "type"
    name = _last_name(value.func)
    return name in ("cls", "__new__") or name.lstrip("_")[:1].isupper()


def _unsubscripted(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node


def _is_one_of(node: ast.expr, names: set[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def asked_for(tree: ast.AST) -> set[str]:
    """The classes that ``isinstance``, ``issubclass``, ``type(x) is``, or a ``match`` asks for."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last_name(node.func) in ("isinstance", "issubclass") and len(node.args) == 2:
            found |= {_last_name(each) for each in ast.walk(node.args[1])}
        elif isinstance(node, ast.Compare) and isinstance(node.left, ast.Call) and _last_name(node.left.func) == "type":
            found |= {_last_name(each) for other in node.comparators for each in ast.walk(other)}
        elif isinstance(node, ast.MatchClass):
            found.add(_last_name(node.cls))
    return found - {""}


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
