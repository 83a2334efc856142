"""``rexec completion``: scripts by which shells complete commands. They ask rexec each time."""

import argparse
from typing import Any

from ..arguments import Options, add_command

NOTES = """\
Completes subcommands, options, files, and the names in ~/.config/chanlink/hosts.toml.

examples:
  bash   source <(rexec completion bash)              in ~/.bashrc
  zsh    source <(rexec completion zsh)               in ~/.zshrc, after compinit
  fish   rexec completion fish > ~/.config/fish/completions/rexec.fish
"""
BASH = """\
# Completes rexec in bash: source <(rexec completion bash)
_rexec() {
    local kind='' cur=${COMP_WORDS[COMP_CWORD]}
    local -a found
    COMPREPLY=()
    {
        read -r kind
        mapfile -t COMPREPLY
    } < <(rexec completion --for="$(printf '%s\\n' "${COMP_WORDS[@]:1:COMP_CWORD}"; echo .)" bash 2> /dev/null)
    if [[ $kind == files && $cur != -* ]]; then
        mapfile -t found < <(compgen -f -- "$cur")
        COMPREPLY+=("${found[@]}")
        compopt -o filenames 2> /dev/null
    fi
    [[ ${COMPREPLY[0]} == *: ]] && compopt -o nospace 2> /dev/null
    return 0
}
complete -F _rexec rexec
"""
ZSH = """\
#compdef rexec
# Completes rexec in zsh: source <(rexec completion zsh)
_rexec() {
    local -a found
    found=(${(f)"$(rexec completion --for="$(printf '%s\\n' "${(@)words[2,CURRENT]}"; echo .)" zsh 2> /dev/null)"})
    (( $#found > 1 )) && compadd -- ${found[2,-1]}
    [[ $found[1] == files && $PREFIX != -* ]] && _files
}
if [[ $funcstack[1] == _rexec ]]; then _rexec "$@"; else compdef _rexec rexec; fi
"""
FISH = """\
# Completes rexec in fish: rexec completion fish > ~/.config/fish/completions/rexec.fish
function __rexec_words
    set -l typed (commandline -opc)[2..] "$(commandline -ct)"
    set -l found (rexec completion --for="$(printf '%s\\n' $typed; echo .)" fish 2> /dev/null)
    printf '%s\\n' $found[2..]
    if test "$found[1]" = files
        __fish_complete_path (commandline -ct)
    end
end
complete -c rexec -f -a '(__rexec_words)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def add(commands: Any) -> None:
    completion = add_command(
        commands,
        "completion",
        action,
        explain,
        help="print a script that completes commands in a shell",
        description="Print a script that completes commands in a shell.",
        epilog=NOTES,
    )
    completion.add_argument("shell", metavar="SHELL", choices=list(SCRIPTS), help="bash, zsh or fish")
    # What the scripts call: the words so far, each with a newline after it, and a point.
    completion.add_argument("--for", dest="typed", help=argparse.SUPPRESS)


def action(options: Options) -> int:
    if options.typed is None:
        print(SCRIPTS[options.shell], end="")
        return 0

    from ..completing import candidates

    found = candidates(options.whole, options.typed.split("\n")[:-1] or [""])
    print("files" if found.files else "words")
    for word in found.words:
        print(word)
    return 0


def explain(error: Exception, options: Options) -> str | None:
    from ..explaining import explain

    return explain(error)
