"""Completion of the command line in a real bash, as `--install-completion` sets it up, and its names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from relay.cli.main import app


@pytest.mark.needs("bash")
def test_bash_completes_commands() -> None:
    """The script is loaded as by a shell's start-up file, and its function called as by the Tab key."""
    script = f"""
        PATH={Path(sys.executable).parent}:$PATH
        eval "$(_PUSH_RELAY_COMPLETE=source_bash push-relay)"
        COMP_WORDS=(push-relay credentials ro); COMP_CWORD=2
        $(complete -p push-relay | sed 's/.*-F \\([^ ]*\\).*/\\1/') push-relay
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.split() == ["rotate"], done.stderr


def test_each_command_is_listed_once_and_has_a_json_option() -> None:
    """Names of earlier versions still work, and are not listed."""
    servers = {"demo", "apns"}
    listed: set[str] = set()

    def walk(command: object, path: str) -> None:
        commands = getattr(command, "commands", None)
        if commands is None:
            listed.add(path)
            options = {name for parameter in getattr(command, "params", ()) for name in parameter.opts}
            assert "--json" in options or path in servers, path
            return
        for name, subcommand in commands.items():
            if not subcommand.hidden:
                walk(subcommand, f"{path} {name}".strip())

    walk(get_command(app), "")
    assert {"doctor", "status", "queue", "retire", "vacuum", "credentials rotate", "tokens list"} <= listed
    assert not listed & {"token-check", "operator-token", "credentials rotate-key", "credential list"}
