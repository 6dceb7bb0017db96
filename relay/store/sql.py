"""SQL statements in `.sql` files beside the modules that run them, each under a line `-- :name`.

Text that several statements of a file share stands once, as a fragment under a line `-- :fragment name`, and a line
`-- :include name` stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

_NAME_LINE = re.compile(r"^-- :(fragment )?(\w+)$", re.MULTILINE)
_INCLUDE_LINE = re.compile(r"^[ ]*-- :include (\w+)$", re.MULTILINE)
_LEADING_COMMENT = re.compile(r"\A(?:\s*--(?! :include )[^\n]*\n)+")


def load(package: str, file: str) -> Mapping[str, str]:
    """Return the statements of `file` by name. `package` is the `__package__` of the module that runs them.

    Raises:
        ValueError: see `parse`.
    """
    return parse(resources.files(package).joinpath(file).read_text(encoding="utf-8"))


def parse(text: str) -> Mapping[str, str]:
    """Return the statements of `text` by name, with fragments in place of the lines that include them.

    Text before the first name is a comment on the file. Comments between a name and its statement are for readers of
    the file: they are left out. A fragment stands before the statements that include it, and includes none itself.

    Raises:
        ValueError: a name stands twice, or an included fragment does not stand before.
    """
    statements: dict[str, str] = {}
    fragments: dict[str, str] = {}

    def include(line: re.Match[str]) -> str:
        if line[1] not in fragments:
            raise ValueError(f"There is no fragment {line[1]} above the line that includes it.")
        return fragments[line[1]]

    parts = _NAME_LINE.split(text)
    for is_fragment, name, block in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if name in statements or name in fragments:
            raise ValueError(f"The name {name} stands twice.")
        body = _LEADING_COMMENT.sub("", block).strip()
        if is_fragment:
            fragments[name] = body
        else:
            statements[name] = _INCLUDE_LINE.sub(include, body)
    return statements
