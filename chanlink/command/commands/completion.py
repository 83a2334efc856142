"""``chanlink completion``: scripts by which shells complete commands, made from the parser."""

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from chanlink.command.options import HOSTS, add_command

NOTES = """\
examples:
  bash   source <(chanlink completion bash)              in ~/.bashrc
  zsh    source <(chanlink completion zsh)               in ~/.zshrc, after compinit
  fish   chanlink completion fish > ~/.config/fish/completions/chanlink.fish
"""
FILES = {"FILE", "KEY|FILE", "[ADDRESS] KEY", "WHOM", "OLD"}
"""What arguments that are files, or may be, are called."""
NAMES = (
    r"""sed -n -e 's/^\[\([A-Za-z0-9_-]*\)\].*/\1/p' -e 's/^\["\([A-Za-z0-9_.-]*\)"\].*/\1/p' """
    f"{HOSTS} 2> /dev/null"
)
"""Prints the names of servers: quicker than a program that starts Python. It need not find all ways to write one."""


def add(commands: Any) -> None:
    parser = add_command(commands, "completion", "Print a script that completes commands in a shell.", NOTES)
    parser.add_argument("shell", metavar="SHELL", choices=list(PRINTERS), help="bash, zsh or fish")
    parser.set_defaults(action=_completion)


def _completion(options: argparse.Namespace) -> int:
    print(PRINTERS[options.shell](list(_places(options.parser, "chanlink"))), end="")
    return 0


class Option(NamedTuple):
    """An option of a command."""

    names: list[str]
    help: str
    takes: bool
    """Whether a value follows."""
    files: bool
    """Whether that is a file."""


class Place(NamedTuple):
    """What may stand at a place: after these words of commands."""

    words: str
    help: str
    options: list[Option]
    commands: "list[Place]"
    choices: list[str]
    """What an argument can be."""
    files: bool
    """Whether an argument may be a file."""
    hosts: bool
    """Whether an argument may be the name of a server."""


def _places(parser: argparse.ArgumentParser, words: str, description: str = "") -> Iterator[Place]:
    place = Place(words, description, [], [], [], False, False)
    below: list[Place] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, child in action.choices.items():
                first, *more = _places(child, f"{words} {name}", helps.get(name, ""))
                place.commands.append(first)
                below += [first, *more]
        elif action.option_strings:
            text = _text(action, parser)
            place.options.append(Option(list(action.option_strings), text, action.nargs != 0, action.metavar in FILES))
        else:
            place.choices.extend(action.choices or [])
            files, hosts = action.metavar in FILES, action.dest in ("address", "addresses")
            place = place._replace(files=place.files or files, hosts=place.hosts or hosts)
    yield place
    yield from below


def _text(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """The help of an option, in one line."""
    return " ".join((action.help or "").replace("%(default)g", str(action.default)).split())


def _words(place: Place) -> list[str]:
    """All that may stand there."""
    names = [name for option in place.options for name in option.names]
    return [command.words.rpartition(" ")[2] for command in place.commands] + place.choices + names


def _values(places: list[Place], files: bool) -> list[str]:
    """The options, with the words before them, that a value follows."""
    return [
        f"{place.words} {name}"
        for place in places
        for option in place.options
        for name in option.names
        if option.takes and option.files is files
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _flag(on: bool) -> str:
    return "1" if on else ""


def _cases(words: list[str]) -> str:
    return " | ".join(map(_quoted, words))


# --- bash ---------------------------------------------------------------------------------------


def _bash(places: list[Place]) -> str:
    rows = [
        f"        {_quoted(place.words)}) "
        f"words={_quoted(' '.join(_words(place)))} files={_flag(place.files)} hosts={_flag(place.hosts)} ;;"
        for place in places
    ]
    return f"""\
# Completes chanlink in bash: source <(chanlink completion bash)
_chanlink() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} at=chanlink words='' files='' hosts='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${{COMP_WORDS[i]}}" in
        {_cases([place.words for place in places[1:]])}) at="$at ${{COMP_WORDS[i]}}" ;;
        esac
    done
    COMPREPLY=()
    case "$at $prev" in
        {_cases(_values(places, True))}) files=1 ;;
        {_cases(_values(places, False))}) return ;;
        *) case "$at" in
{chr(10).join(rows)}
        esac ;;
    esac
    [[ $hosts ]] && words+=" $({NAMES})"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    if [[ $files && $cur != -* ]]; then
        local -a found
        mapfile -t found < <(compgen -f -- "$cur")
        COMPREPLY+=("${{found[@]}}")
        compopt -o filenames 2> /dev/null
    fi
}}
complete -F _chanlink chanlink
"""


# --- zsh ----------------------------------------------------------------------------------------


def _zsh(places: list[Place]) -> str:
    rows = []
    for place in places:
        described = [(command.words.rpartition(" ")[2], command.help) for command in place.commands]
        described += [(choice, "") for choice in place.choices]
        options = [(name, option.help) for option in place.options for name in option.names]
        rows.append(
            f"        {_quoted(place.words)}) commands=({_described(described)}) options=({_described(options)})"
            f" files={_flag(place.files)} hosts={_flag(place.hosts)} ;;"
        )
    return f"""\
#compdef chanlink
# Completes chanlink in zsh: source <(chanlink completion zsh)
_chanlink() {{
    local at=chanlink files='' hosts='' i
    local -a commands options names
    for ((i = 2; i < CURRENT; i++)); do
        case "$at $words[i]" in
        ({_cases([place.words for place in places[1:]])}) at="$at $words[i]" ;;
        esac
    done
    case "$at $words[CURRENT-1]" in
        ({_cases(_values(places, True))}) _files; return ;;
        ({_cases(_values(places, False))}) return ;;
    esac
    case "$at" in
{chr(10).join(rows)}
    esac
    [[ -n $hosts ]] && names=(${{(f)"$({NAMES})"}}) && compadd -a names
    (( $#commands )) && _describe command commands
    [[ $PREFIX == -* || -z $files ]] && _describe -o option options
    [[ -n $files && $PREFIX != -* ]] && _files
}}
if [[ $funcstack[1] == _chanlink ]]; then _chanlink "$@"; else compdef _chanlink chanlink; fi
"""


def _described(words: list[tuple[str, str]]) -> str:
    return " ".join(_quoted(f"{word}:{text.replace(':', chr(92) + ':')}") for word, text in words)


# --- fish ---------------------------------------------------------------------------------------


def _fish(places: list[Place]) -> str:
    lines = []
    for place in places:
        there = f"complete -c chanlink -n {_fish_quoted(f'test (__chanlink_at) = {chr(34)}{place.words}{chr(34)}')}"
        for command in place.commands:
            lines.append(f"{there} -a {command.words.rpartition(' ')[2]} -d {_fish_quoted(command.help)}")
        if place.choices:
            lines.append(f"{there} -a {_fish_quoted(' '.join(place.choices))}")
        if place.hosts:
            lines.append(f"{there} -a {_fish_quoted(f'({NAMES})')} -d server")
        if place.files:
            lines.append(f"{there} -F")
        for option in place.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            value = (" -r -F" if option.files else " -x") if option.takes else ""
            lines.append(f"{there} {names}{value} -d {_fish_quoted(option.help)}")
    return f"""\
# Completes chanlink in fish: chanlink completion fish > ~/.config/fish/completions/chanlink.fish
function __chanlink_at
    set -l at chanlink
    for word in (commandline -opc)[2..]
        switch "$at $word"
            case {" ".join(_fish_quoted(place.words) for place in places[1:])}
                set at "$at $word"
        end
    end
    echo $at
end
complete -c chanlink -f
{chr(10).join(lines)}
"""


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


PRINTERS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
