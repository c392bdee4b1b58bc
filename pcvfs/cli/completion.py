"""``pcvfs completion``: scripts that let the shell complete verbs, options and files."""

from __future__ import annotations

from pcvfs.cli import console
from pcvfs.cli.declare import COMPLETION_VARIABLE, Choice, argument, verb_command
from pcvfs.errors import ExitCode, InternalError


@verb_command(
    "completion",
    help="""Print a script that completes pcvfs commands in your shell.

    SHELL is bash, zsh or fish.""",
    examples=[
        ("bash, for this session", 'eval "$(pcvfs completion bash)"'),
        ("zsh, for this session", 'eval "$(pcvfs completion zsh)"'),
        (
            "bash, from now on",
            "pcvfs completion bash > ~/.local/share/bash-completion/completions/pcvfs",
        ),
        (
            "fish, from now on",
            "pcvfs completion fish > ~/.config/fish/completions/pcvfs.fish",
        ),
    ],
    exit_codes=[ExitCode.OK, ExitCode.USAGE],
)
@argument("shell", convert=Choice(("bash", "zsh", "fish")))
def verb(*, shell: str) -> None:
    from click.shell_completion import get_completion_class

    from pcvfs.cli.command import root

    complete = get_completion_class(shell)
    if complete is None:
        raise InternalError(f"click has no completion for {shell}")
    # Not .source(): for bash it starts a shell to check its version.
    script = complete(root(), {}, console.PROGRAM, COMPLETION_VARIABLE)
    console.say(script.source_template % script.source_vars())
