"""The alarm for a credential whose device tokens are refused in unusual numbers."""

from __future__ import annotations


class BadTokenAlarm:
    """An alarm for one credential: when BadDeviceToken answers jump, the configuration is wrong and not the tokens.

    Two counts decay so that they hold the weight of the last `window` answers. While at least `floor` of these, and
    more than the part `share`, are BadDeviceToken, `ringing` is true and no token may be retired for that reason.
    """

    def __init__(self, window: int = 1000, floor: int = 20, share: float = 0.2) -> None:
        self._window = window
        self._floor = floor
        self._share = share
        self._answers = 0.0
        self._bad = 0.0

    def count_answers(self, answers: int, bad: int) -> None:
        """Count the answers of a send job, `bad` of them BadDeviceToken."""
        self._answers += answers
        self._bad += bad
        if self._answers > self._window:
            self._bad *= self._window / self._answers
            self._answers = float(self._window)

    @property
    def ringing(self) -> bool:
        """Tell whether the rate has jumped."""
        return self._bad >= self._floor and self._bad > self._share * self._answers
