"""Docstrings become a reference: what `single backticks` mean in them, and by which name a thing goes.

Everything has one public name (``chanlink.Sender``), whatever file it is defined in, and nothing else is shown. In
pages, code that is such a name (``Sender.clone``, ``chanlink.pipe()``) leads to it.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import cache
from typing import Any, TypeVar

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

from .public import FACES, OPTIONAL, public

NOT_SHOWN = {
    "chanlink.blocking.ends.End",
    "chanlink.calls.method.Method",
    "chanlink.calls.serving.CallService",
    "chanlink.channels.cases.Opener",
    "chanlink.channels.handle.Handle",
    "chanlink.limits.PeerLimits",
    "chanlink.patterns.jobs.store.Store",
    "chanlink.patterns.jobs.way.Opens",
    "chanlink.security.security.Security",
    "chanlink.session.ends.foreign.ForeignStream",
    "chanlink.session.listening.Registering",
    "chanlink.session.naming.Resolver",
    "chanlink.session.states.States",
    "chanlink.transport.accepting.Listening",
    "chanlink.transport.base.Transport",
    "chanlink.transport.carried.CarrierListener",
    "chanlink.transport.carried.Means",
}
"""Types in signatures of which nobody needs to know more than what is said there."""
LITERAL = re.compile(r"(?P<name>(?:chanlink\.)?\w+(?:\.\w+)*)(?P<call>\(\))?")
"""Code in a page that may be a name."""


@cache
def public_names() -> dict[str, str]:
    """For each public object its public name, by the name that it was defined under."""
    defined = {
        f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}": name
        for name, thing in public().items()
    }
    return {inner: name for inner, name in defined.items() if is_ours(inner)}


def is_ours(name: str) -> bool:
    return name.split(".")[0] == "chanlink"


# --- what autodoc shows -------------------------------------------------------------------------


def skip_what_is_others(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: object) -> bool | None:
    """What a class inherits of anyio and of the standard library is on their pages."""
    function = thing.fget if isinstance(thing, property) else thing
    function = getattr(function, "__func__", function)
    module = getattr(function, "__module__", None) or getattr(function, "__objclass__", object).__module__
    return True if inspect.isroutine(function) and not is_ours(module) else None


def made_by_us(thing: type) -> bool:
    """Its docstring says who makes it, it is only returned, or it is made of something that only we have."""
    if f"{thing.__module__}.{thing.__qualname__}" not in public_names():
        return True
    if re.search(r"\bMade by\b|\bMake one with\b", inspect.getdoc(thing) or ""):
        return True
    types = [str(parameter.annotation) for parameter in inspect.signature(thing).parameters.values()]
    inner = {name for text in types for name in re.findall(r"\bchanlink\.[\w.]+", text)}
    return not inner <= {*public_names(), *public_names().values()}


def as_it_is_used(
    app: Sphinx, what: str, name: str, thing: Any, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A function that is a context manager says so; what only we make has no constructor."""
    if what in ("class", "exception") and signature and made_by_us(thing):
        return "", None
    inner = getattr(thing, "__wrapped__", None)
    if returns and (inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner)):
        manager = AbstractAsyncContextManager if inspect.isasyncgenfunction(inner) else AbstractContextManager
        given = re.sub(r"^~?[\w.]+\[(.*?)(, None)*\]$", r"\1", returns)
        return signature, f"~{manager.__module__}.{manager.__name__}[{given}]"
    return signature, returns


def for_readers(app: Sphinx, what: str, name: str, thing: Any, options: object, lines: list[str]) -> None:
    """Pages that are named by their path are links, and why a class is not smaller (``Whole: ...``) is left out."""
    text = re.sub(r"^Whole: .*?(\n\n|\Z)", "", "\n".join(lines), flags=re.MULTILINE | re.DOTALL)
    lines[:] = re.sub(r"\bdocs/([\w/-]+)\.md\b", r":doc:`/\1`", text).split("\n")


def simpler_signatures(app: Sphinx, domain: str, kind: str, content: nodes.Element) -> None:
    """Where a type lies that is no public name is nobody's business: it is never imported, but returned.

    What type checkers know as a ``TypeForm`` stands there a second time, as a ``type``.
    """
    signatures = [node for node in content.parent.children if isinstance(node, addnodes.desc_signature)]
    for signature in signatures[1:]:
        if "TypeForm[" in signature.astext():
            content.parent.remove(signature)
    for signature in signatures:
        for module in list(signature.findall(addnodes.desc_addname)):
            if is_ours(module.astext()) and module.astext().rstrip(".") not in (*FACES, *OPTIONAL):
                module.parent.remove(module)


# --- links --------------------------------------------------------------------------------------


def lead_to_public_name(
    app: Sphinx, env: BuildEnvironment, link: addnodes.pending_xref, text: nodes.TextElement
) -> nodes.Node | None:
    if link.get("refdomain") != "py":
        return None
    target = link["reftarget"]
    if target in public_names() and (found := reference(env, link["refdoc"], public_names()[target], text)):
        return found
    for name in _candidates(link):
        if found := reference(env, link["refdoc"], name, text):
            return found
    return (
        text if link["reftype"] == "obj" or not is_ours(target) or target in NOT_SHOWN or is_variable(target) else None
    )


def is_variable(name: str) -> bool:
    module, _, last = name.rpartition(".")
    return isinstance(getattr(sys.modules.get(module), last, None), TypeVar)


def _candidates(link: addnodes.pending_xref) -> Iterator[str]:
    """What a word between backticks may stand for, the nearest first."""
    target, module, cls = link["reftarget"], link.get("py:module"), link.get("py:class")
    for face in dict.fromkeys([module, *FACES, *OPTIONAL]):
        if cls:
            yield f"{face}.{cls}.{target}"
        yield f"{face}.{target}"


def reference(env: BuildEnvironment, page: str, name: str, text: nodes.Node) -> nodes.reference | None:
    found = env.domains.python_domain.objects.get(name)
    if found is None:
        return None
    uri = env._app.builder.get_relative_uri(page, found.docname) if env._app else ""
    return nodes.reference("", "", text, internal=True, refuri=f"{uri}#{found.node_id}", reftitle=name)


class NamesInPages(SphinxPostTransform):
    """Code in a page which is a public name is a link."""

    default_priority = 5

    def run(self, **_: object) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, (nodes.reference, nodes.title, addnodes.pending_xref)):
                continue
            found = LITERAL.fullmatch(literal.astext())
            if found and (link := self._link(found["name"], bool(found["call"]), literal.deepcopy())):
                literal.replace_self(link)

    def _link(self, name: str, is_call: bool, text: nodes.Node) -> nodes.reference | None:
        """Words such as ``streams`` are not only names: a name is one with a capital, with a dot, or that is called."""
        if not (is_call or "." in name or name[0].isupper()):
            return None
        return reference(self.env, self.env.docname, name if is_ours(name) else f"chanlink.{name}", text)


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("autodoc-skip-member", skip_what_is_others)
    app.connect("autodoc-process-signature", as_it_is_used)
    app.connect("autodoc-process-docstring", for_readers)
    app.connect("object-description-transform", simpler_signatures)
    app.connect("missing-reference", lead_to_public_name)
    app.add_post_transform(NamesInPages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
