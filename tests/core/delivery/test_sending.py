"""The values between dispatch and the wire."""

from __future__ import annotations

from relay.core.delivery.sending import DELIVERED, Answer, Fate, SendBatch
from relay.core.push.apns_headers import PushHeaders


def test_a_send_batch_begins_without_answers() -> None:
    tokens = ["aa", "bb", "cc"]
    batch = SendBatch(b"{}", PushHeaders("alert", 10), tokens, ["1", "2", "3"], ["t"] * 3)
    assert batch.answers == [None, None, None]
    assert (len(batch), batch.traced) == (3, False)


def test_an_answer_without_more_holds_nothing_that_apns_did_not_say() -> None:
    assert Answer(Fate.NOT_SENT) == (Fate.NOT_SENT, 0, "", None, None)
    assert DELIVERED == (Fate.ANSWERED, 200, "", None, None)


def test_the_words_of_fates_are_those_of_traces() -> None:
    assert [fate.value for fate in Fate] == ["answered", "not_sent", "unknown"]
