"""Completion of the command line: in a real bash, as `--install-completion` has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from relay.cli.main import app


@pytest.mark.needs("bash")
def test_bash_completes_commands() -> None:
    """The script is loaded as a shell's start-up file would load it, and its function asked as the Tab key does."""
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


def test_each_command_has_one_name_and_speaks_json() -> None:
    """Names of former versions work, and are not listed."""
    servers = {"demo", "apns"}
    listed: set[str] = set()

    def look(command: object, path: str) -> None:
        commands = getattr(command, "commands", None)
        if commands is None:
            listed.add(path)
            options = {name for one in getattr(command, "params", ()) for name in one.opts}
            assert "--json" in options or path in servers, path
            return
        for name, one in commands.items():
            if not one.hidden:
                look(one, f"{path} {name}".strip())

    look(get_command(app), "")
    assert {"doctor", "status", "queue", "retire", "vacuum", "credentials rotate", "tokens list"} <= listed
    assert not listed & {"token-check", "operator-token", "credentials rotate-key", "credential list"}
