"""Every reason that a push can end with is explained."""

from __future__ import annotations

import pytest

from relay.core.delivery.explanations import EXPLANATIONS, explain
from relay.core.delivery.verdicts import VERDICTS, Blame


def test_all_of_apples_reasons_have_words() -> None:
    assert {reason for _, reason in VERDICTS if reason} <= EXPLANATIONS.keys()


@pytest.mark.parametrize(("status", "reason"), [key for key in VERDICTS if key[1]])
def test_blame_is_the_verdicts(status: int, reason: str) -> None:
    assert EXPLANATIONS[reason].blame is VERDICTS[status, reason].blame


def test_sentences_are_whole() -> None:
    for explanation in EXPLANATIONS.values():
        assert explanation.meaning.endswith(".")
        assert explanation.advice.endswith(".")


def test_the_end_of_a_connection_is_explained_by_what_apple_said() -> None:
    assert explain("GoAway:Shutdown") == EXPLANATIONS["Shutdown"]
    assert explain("GoAway:SomethingNew") == EXPLANATIONS["GoAway"]


def test_a_reason_that_is_new_is_said_to_be_unknown() -> None:
    explanation = explain("SomethingNew")
    assert explanation not in EXPLANATIONS.values()
    assert explanation.blame is Blame.APNS
