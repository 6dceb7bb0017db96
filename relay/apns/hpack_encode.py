"""The encoding half of HPACK (RFC 7541), as far as requests to APNs need it. No Huffman coding: it would cost
more than it saves.

`HeaderTable` is the dynamic table of our encoder. Measured on loopback, it is worth having: without it a push
has about 620 octets, 350 of them the same as in the push before. It never evicts: what doesn't fit is sent as
a literal, so that indices change only when a field is added, which is rare. Its size is 4,096 octets, less if
the server says so. When `clear` is called, the next block starts with size updates to 0 and back, which
empties the server's copy.
"""

from __future__ import annotations

from typing import Final

TABLE_MAX: Final = 4_096
"""Octets of the table (RFC 7541, 4.1) unless SETTINGS_HEADER_TABLE_SIZE says less; the default of RFC 9113,
6.5.2."""

_STATIC_ENTRIES: Final = 61
_ENTRY_OVERHEAD: Final = 32
_STATIC_NAMES: Final = {b":authority": 1, b":path": 4, b"authorization": 23}

_INDEXED: Final = 0x80
_INDEXING: Final = 0x40
_SIZE_UPDATE: Final = 0x20
_NEVER: Final = 0x10
_PLAIN: Final = 0x00


def integer(value: int, bits: int, pattern: int = 0) -> bytes:
    """A number with a prefix of `bits` bits, the bits above it from `pattern` (5.1)."""
    full = (1 << bits) - 1
    if value < full:
        return bytes((pattern | value,))
    out = bytearray((pattern | full,))
    value -= full
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field_head(name: bytes, value_size: int, pattern: int = _PLAIN) -> bytes:
    """A literal field up to its value, which must follow (6.2)."""
    bits = 6 if pattern == _INDEXING else 4
    index = _STATIC_NAMES.get(name, 0)
    head = integer(index, bits, pattern)
    if not index:
        head += integer(len(name), 7) + name
    return head + integer(value_size, 7)


def literal(name: bytes, value: bytes) -> bytes:
    """A literal field without indexing (6.2.2)."""
    return field_head(name, len(value)) + value


def never_indexed_head(name: bytes, value_size: int) -> bytes:
    """The same for a secret, up to its value: no proxy may put it into a table (6.2.3)."""
    return field_head(name, value_size, _NEVER)


class HeaderTable:
    """The dynamic table of our encoder. Blocks must be sent in the order in which they were made."""

    def __init__(self) -> None:
        self._limit = TABLE_MAX
        self._used = 0
        self._places: dict[tuple[bytes, bytes], int] = {}
        self._update_due = False

    def resize(self, limit: int) -> bool:
        """SETTINGS_HEADER_TABLE_SIZE; True if the table has changed, and is empty now."""
        limit = min(limit, TABLE_MAX)
        if limit == self._limit:
            return False
        self._limit = limit
        self.clear()
        return True

    def clear(self) -> None:
        """Forget all entries."""
        self._places.clear()
        self._used = 0
        self._update_due = True

    def start(self) -> bytes:
        """What a block has to start with: b"", or size updates (4.2: the smallest size, then the last)."""
        if not self._update_due:
            return b""
        self._update_due = False
        return integer(0, 5, _SIZE_UPDATE) + (integer(self._limit, 5, _SIZE_UPDATE) if self._limit else b"")

    def make_room(self, name: bytes, value: bytes) -> bool:
        """Forget all entries if that is what it takes to have this one; True if so."""
        size = len(name) + len(value) + _ENTRY_OVERHEAD
        if (name, value) in self._places or not self._limit - self._used < size <= self._limit:
            return False
        self.clear()
        return True

    def __len__(self) -> int:
        return len(self._places)

    def add(self, name: bytes, value: bytes) -> bytes:
        """A field for the block that is made now, put into the table if it isn't there and fits."""
        size = len(name) + len(value) + _ENTRY_OVERHEAD
        if (name, value) in self._places or self._used + size > self._limit:
            return self.refer(name, value)
        self._places[name, value] = len(self._places)
        self._used += size
        return field_head(name, len(value), _INDEXING) + value

    def refer(self, name: bytes, value: bytes) -> bytes:
        """A field by its index, or as a literal; right until the next `add` that puts something in."""
        place = self._places.get((name, value))
        if place is None:
            return literal(name, value)
        return integer(_STATIC_ENTRIES + len(self._places) - place, 7, _INDEXED)
