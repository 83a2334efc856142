"""The page of words is true: the other pages use them, and the exceptions are there."""

import re
from pathlib import Path

import anyio
import pytest

import chanlink

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "vocabulary.md"
TEXT = PAGE.read_text()
WORDS = re.findall(r"^- \*\*(?P<word>[^*]+)\*\*: (?P<meaning>.*)$", TEXT, re.MULTILINE)
NAMES = re.compile(r"(?<=\. )(?:`[\w.]+`(?:, )?)+$")
"""The exceptions behind the last sentence."""


def spelt_out(text: str) -> str:
    """In lower case; `CallRefused` is ``call refused``, and lines go on."""
    return re.sub(r"\s+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)).lower()


OTHERS = spelt_out(
    "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if path != PAGE)
)


def subclasses(cls: type[Exception]) -> list[type[Exception]]:
    return [
        one for each in cls.__subclasses__() if each.__module__ == cls.__module__ for one in [each, *subclasses(each)]
    ]


def test_there_are_words_and_each_stands_there_once() -> None:
    assert len(WORDS) > 50
    assert len({word for word, _ in WORDS}) == len(WORDS)


@pytest.mark.parametrize(("word", "meaning"), WORDS, ids=[word for word, _ in WORDS])
def test_a_word_has_two_sentences_is_used_elsewhere_and_its_exceptions_exist(word: str, meaning: str) -> None:
    names = NAMES.search(meaning)
    sentences = NAMES.sub("", meaning).strip()
    assert sentences.endswith(".")
    assert len(re.findall(r"\.(?= |$)", sentences)) == 2, sentences
    assert re.search(rf"\b{word}s?\b", OTHERS), "no other page uses it"
    for name in re.findall(r"`(?:(anyio)\.)?(\w+)`", names.group() if names else ""):
        module, attribute = anyio if name[0] else chanlink, name[1]
        assert issubclass(getattr(module, attribute), Exception)


@pytest.mark.parametrize("root", [chanlink.ChannelError, chanlink.MessageError, chanlink.CallError, chanlink.JobError])
def test_every_error_of_a_channel_message_call_or_job_goes_with_a_word(root: type[Exception]) -> None:
    assert not [each.__name__ for each in subclasses(root) if f"`{each.__name__}`" not in TEXT]


def test_what_stands_beside_go_is_there() -> None:
    ours = re.findall(r"^\| [^|]* \| ([^|]*) \|", TEXT.partition("| Go | chanlink |")[2], re.MULTILINE)
    assert len(ours) > 15
    ends = {"sender": chanlink.Sender, "receiver": chanlink.Receiver, "end": chanlink.Receiver}
    methods = [found for cell in ours for found in re.findall(r"`(?:await )?(sender|receiver|end)\.(\w+)", cell)]
    assert len(methods) > 4
    assert not [(end, method) for end, method in methods if not hasattr(ends[end], method)]
