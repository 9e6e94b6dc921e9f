"""Prints a tab-completion script; the names of groups and options are read from the folders of `conf/`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from embodied.core.assets import conf_dir
from embodied.core.errors import ConfigError, UnknownNameError

HELP = """usage: embodied completion bash|zsh|fish

Prints a tab-completion script: commands, groups (task=, reward=, llm=, trainer=, ...) and their options.

examples:
  eval "$(embodied completion bash)"                     in ~/.bashrc
  eval "$(embodied completion zsh)"                      in ~/.zshrc, after compinit
  embodied completion fish > ~/.config/fish/completions/embodied.fish
"""

COMPOSED = ("train", "evaluate", "watch")
FIXED_WORDS = {
    "reward": ("check", "prompt"),
    "runs": ("list", "compare", "clean"),
    "new": ("task", "robot"),
    "completion": ("bash", "zsh", "fish"),
}

_BASH = """_embodied() {{
  local line="${{COMP_LINE:0:COMP_POINT}}"
  local word="${{line##*[[:space:]]}}" words
  if [ "$COMP_CWORD" -le 1 ]; then words="{commands}"; else
    case "${{COMP_WORDS[1]}}" in
{cases}
      *) words="" ;;
    esac
  fi
  local prefix=""
  case "$word" in *=*) prefix="${{word%"${{word##*=}}"}}" ;; esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  # readline cuts words at '=': give back only what follows it
  case "$COMP_WORDBREAKS" in *=*) COMPREPLY=("${{COMPREPLY[@]#"$prefix"}}") ;; esac
  case "${{COMPREPLY[*]}}" in *=) compopt -o nospace ;; esac
}}
complete -o default -F _embodied embodied
"""

_ZSH = """#compdef embodied
_embodied() {{
  local -a words_
  if (( CURRENT == 2 )); then words_=({commands}); else
    case "${{words[2]}}" in
{cases}
    esac
  fi
  compadd -S '' -- $words_ || _files
}}
compdef _embodied embodied
"""


def run(arguments: list[str]) -> int:
    """Prints the script for the named shell."""
    if len(arguments) != 1:
        raise ConfigError("say which shell: embodied completion bash|zsh|fish")
    makers = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
    if arguments[0] not in makers:
        raise UnknownNameError("shell", arguments[0], makers)
    print(makers[arguments[0]](), end="")
    return 0


def group_options(folders: Iterable[Path] | None = None) -> dict[str, list[str]]:
    """Options by group, from the file names in `conf/` and in the folders of `EMBODIED_CONF`."""
    found: dict[str, set[str]] = {}
    for folder in folders or [conf_dir(), *user_conf_folders()]:
        for group in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "_"))):
            names = {str(f.relative_to(group))[: -len(".yaml")] for f in group.rglob("*.yaml")}
            if names:
                found.setdefault(group.name, set()).update(names)
    return {group: sorted(names) for group, names in sorted(found.items())}


def user_conf_folders() -> list[Path]:
    """The existing folders that `EMBODIED_CONF` names (separated by ':')."""
    listed = os.environ.get("EMBODIED_CONF", "").split(os.pathsep)
    return [Path(entry).resolve() for entry in listed if entry and Path(entry).is_dir()]


def words_by_command() -> dict[str, list[str]]:
    """What may follow each command."""
    from embodied.commands.main import COMMANDS

    options = group_options()
    groups = [f"{group}={name}" for group, names in options.items() for name in names]
    words = {command: ["--help"] for command in COMMANDS}
    for command in COMMANDS:
        if command == "list":
            words[command] = [plural(group) for group in options] + ["records", "--json", "--help"]
        elif command in FIXED_WORDS:
            words[command] = [*FIXED_WORDS[command], "--help"]
        elif command in COMPOSED:
            words[command] = [*groups, "resume=", "searchpath=", "trusted_packages=", "--cfg", "--help"]
    return words


def plural(group: str) -> str:
    """`task` -> `tasks`, `policy` -> `policies`."""
    if group.endswith("y"):
        return group[:-1] + "ies"
    return group if group.endswith(("s", "ed")) else group + "s"


def bash_script() -> str:
    """Completion for bash."""
    words = words_by_command()
    cases = "\n".join(f'      {command}) words="{" ".join(w)}" ;;' for command, w in words.items())
    return _BASH.format(commands=" ".join(words), cases=cases)


def zsh_script() -> str:
    """Completion for zsh."""
    words = words_by_command()
    cases = "\n".join(f"      {command}) words_=({' '.join(w)}) ;;" for command, w in words.items())
    return _ZSH.format(commands=" ".join(words), cases=cases)


def fish_script() -> str:
    """Completion for fish."""
    from embodied.commands.main import COMMANDS

    words = words_by_command()
    lines = ["complete -c embodied -f"]
    for command in words:
        help_line = COMMANDS[command][1].replace("'", "\\'")
        lines.append(f"complete -c embodied -n __fish_use_subcommand -a {command} -d '{help_line}'")
    for command, options in words.items():
        lines.append(f"complete -c embodied -n '__fish_seen_subcommand_from {command}' -a '{' '.join(options)}'")
    return "\n".join(lines) + "\n"
