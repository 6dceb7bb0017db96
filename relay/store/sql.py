"""SQL statements in `.sql` files beside the modules that run them, each under a line `-- :name`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

_NAME_LINE = re.compile(r"^-- :(\w+)$", re.MULTILINE)
_LEADING_COMMENT = re.compile(r"\A(?:\s*--[^\n]*\n)+")


def load(package: str, file: str) -> Mapping[str, str]:
    """Return the statements of `file` by name. `package` is the `__package__` of the module that runs them.

    Text before the first name is a comment on the file. Comments between a name and its statement are for readers of
    the file: they are left out.
    """
    parts = _NAME_LINE.split(resources.files(package).joinpath(file).read_text(encoding="utf-8"))
    return dict(
        zip(parts[1::2], (_LEADING_COMMENT.sub("", text).strip() for text in parts[2::2]), strict=True)
    )
