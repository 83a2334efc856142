"""What the layer test looks for is found, and what it must not mind is not."""

import ast

import pytest

from .shape import asked_for, attribute_of, attributes_in, attributes_of, foreign_writes, imports


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from .credit import Credit", {("chanlink.wire.credit", "Credit")}),
        ("from . import credit", {("chanlink.wire", "credit")}),
        ("from ..limits import Limits", {("chanlink.limits", "Limits")}),
        ("def later():\n    import chanlink.errors", {("chanlink.errors", "")}),
        ("if TYPE_CHECKING:\n    from chanlink.channels import values", {("chanlink.channels", "values")}),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, found: set[tuple[str, str]]) -> None:
    assert set(imports(ast.parse(source), "chanlink.wire")) == found


def test_names_taken_out_of_a_module_are_found() -> None:
    assert attributes_of(ast.parse("import chanlink\nx = chanlink.Session.ping, other.name"), "chanlink") == {"Session"}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("def close(stream):\n    stream.reason = None", "stream.reason"),
        ("def close(self):\n    self.stream.reason = None", "self.stream.reason"),
        ("def close(self):\n    self.streams[1].reason = None", "self.streams[1].reason"),
        ("def count(stream):\n    stream.count += 1", "stream.count"),
        ("def close(stream):\n    stream.reason: str = ''", "stream.reason"),
        ("def close(a, stream):\n    a, stream.reason = 1, 2", "stream.reason"),
        ("def close(stream):\n    del stream.reason", "stream.reason"),
        ("def close(all):\n    for all.one in (1, 2): pass", "all.one"),
        ("def close(core):\n    core.feeds[1] = None", "core.feeds[1]"),
        ("def close(core):\n    del core.feeds[1]", "core.feeds[1]"),
        ("def close(stream):\n    setattr(stream, 'reason', None)", "setattr(stream)"),
        ("def close(stream):\n    object.__setattr__(stream, 'reason', None)", "__setattr__(stream)"),
        ("def close(stream):\n    def later():\n        stream.reason = None", "stream.reason"),
        ("def close():\n    stream = find(1)\n    stream.reason = None", "stream.reason"),
        ("def close(stream=None):\n    stream = stream or Stream()\n    stream.reason = None", "stream.reason"),
        ("def close(stream):\n    if not stream: stream = Stream()\n    stream.reason = None", "stream.reason"),
        ("def close():\n    stream = Stream()\n    for stream in all: stream.reason = None", "stream.reason"),
        ("module.setting = 1", "module.setting"),
    ],
)
def test_writes_into_other_objects_are_found(source: str, target: str) -> None:
    assert foreign_writes(ast.parse(source)) == {target}


@pytest.mark.parametrize(
    "source",
    [
        "def close(self):\n    self.reason = None",
        "def close(self):\n    self.streams[1] = None",
        "@classmethod\ndef count(cls):\n    cls.count += 1",
        "def make():\n    stream = Stream(1)\n    stream.reason = None",
        "def make():\n    stream = wire._Stream(1)\n    def later():\n        stream.reason = None",
        "def make(cls):\n    made = cls.__new__(cls)\n    made.reason = None",
        "def make(self):\n    twin = type(self)()\n    twin.reason = None",
        "def make():\n    with Scope() as scope:\n        scope.deadline = 1",
        "def put(table):\n    table[1] = 2",
        "def put(stream):\n    reason = stream.reason",
    ],
)
def test_writes_at_home_are_not(source: str) -> None:
    assert foreign_writes(ast.parse(source)) == set()


def test_the_attributes_of_a_class_are_found() -> None:
    tree = ast.parse(
        "class A:\n    one: int\n    TWO = 2\n    def f(self):\n        self.three = other.four = self.five[0]"
    )
    assert [attributes_in(cls) for cls in tree.body if isinstance(cls, ast.ClassDef)] == [{"one", "three"}]


def test_a_write_tells_its_attribute() -> None:
    targets = ("stream.reason", "core.feeds[feed]", "self.all[1].reason", "setattr(stream)")
    assert [attribute_of(target) for target in targets] == ["reason", "feeds", "reason", ""]


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(stream, NoiseStream)",
        "isinstance(stream, int | records.NoiseStream)",
        "isinstance(stream, (int, NoiseStream))",
        "issubclass(cls, NoiseStream)",
        "type(stream) is NoiseStream",
        "type(stream) in (int, NoiseStream)",
        "match stream:\n    case NoiseStream(): pass",
    ],
)
def test_questions_about_the_class_of_something_are_found(source: str) -> None:
    assert "NoiseStream" in asked_for(ast.parse(source))


def test_names_of_classes_alone_are_no_questions() -> None:
    assert asked_for(ast.parse("stream: NoiseStream = NoiseStream(isinstance)")) == set()
