"""The alarm for a jump of BadDeviceToken answers."""

from __future__ import annotations

import pytest

from relay.core.delivery.bad_token_alarm import BadTokenAlarm


@pytest.mark.parametrize(
    ("notes", "rings"),
    [
        ([], False),
        ([(19, 19)], False),
        ([(19, 19), (1, 1)], True),
        ([(100, 20)], False),
        ([(99, 20)], True),
        ([(1000, 200)], False),
        ([(1000, 201)], True),
        # Only the last 1,000 answers' worth counts: what came before fades.
        ([(10_000, 100)], False),
        ([(10_000, 2000)], False),
        ([(10_000, 2001)], True),
        ([(1000, 0), (250, 249)], False),
        ([(1000, 0), (251, 251)], True),
        ([(1000, 0), (1000, 1000)], True),
        ([(1000, 1000), (4000, 0)], False),
        ([(1000, 1000), (3999, 0)], True),
    ],
)
def test_the_alarm_rings_for_twenty_bad_tokens_that_are_more_than_a_fifth(
    notes: list[tuple[int, int]], rings: bool
) -> None:
    alarm = BadTokenAlarm()
    for answers, bad in notes:
        alarm.count_answers(answers, bad)
    assert alarm.ringing is rings


@pytest.mark.parametrize(
    ("answers", "bad", "rings"), [(10_000, 100, False), (100, 51, True), (100, 49, False), (2, 2, False)]
)
def test_window_floor_and_share_are_arguments(answers: int, bad: int, rings: bool) -> None:
    alarm = BadTokenAlarm(window=100, floor=3, share=0.5)
    alarm.count_answers(answers, bad)
    assert alarm.ringing is rings


def test_the_alarm_stops_when_the_jump_is_over() -> None:
    alarm = BadTokenAlarm(window=100, floor=20, share=0.2)
    alarm.count_answers(100, 90)
    assert alarm.ringing
    alarm.count_answers(1000, 0)
    assert not alarm.ringing
