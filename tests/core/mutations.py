"""Single-character changes of a text, for properties of signed texts."""

from __future__ import annotations

from hypothesis import strategies as st

_ALPHABET = "ABCXYZabcxyz0189-_=.+/ \n\x00é"


@st.composite
def changed(draw: st.DrawFn, text: str) -> str:
    """`text` with one character replaced, deleted or inserted."""
    place = draw(st.integers(0, len(text) - 1))
    how = draw(st.sampled_from(["replace", "delete", "insert", "append", "swap"]))
    character = draw(st.one_of(st.sampled_from(_ALPHABET), st.characters()))
    changed_text = {
        "replace": text[:place] + character + text[place + 1 :],
        "delete": text[:place] + text[place + 1 :],
        "insert": text[:place] + character + text[place:],
        "append": text + character,
        "swap": text[:place] + text[place].swapcase() + text[place + 1 :],
    }[how]
    return changed_text if changed_text != text else text + "A"
