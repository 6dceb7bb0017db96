"""The alarm for a jump of BadDeviceToken answers."""

from __future__ import annotations

from relay.core.delivery.bad_token_alarm import BadTokenAlarm


def test_the_alarm_rings_for_a_jump_and_stops_when_it_is_over() -> None:
    alarm = BadTokenAlarm(window=100, floor=20, share=0.2)
    alarm.count_answers(10_000, 100)
    assert not alarm.ringing, "one in a hundred is everyday life"
    alarm.count_answers(100, 90)
    assert alarm.ringing
    alarm.count_answers(1000, 0)
    assert not alarm.ringing


def test_a_handful_of_bad_tokens_is_no_alarm() -> None:
    alarm = BadTokenAlarm(floor=20)
    alarm.count_answers(19, 19)
    assert not alarm.ringing
    alarm.count_answers(1, 1)
    assert alarm.ringing
