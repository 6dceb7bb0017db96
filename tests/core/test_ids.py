"""Push ids that hold their time, and apns-ids that are constant over all attempts."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.ids import ApnsIds, make_uuid7, new_uuid7, smallest_push_id

PUSH = make_uuid7(1_767_225_600_000, 7)


def test_an_apns_id_holds_a_digest_of_the_push_and_the_number_of_the_installation() -> None:
    assert UUID("019b76da-a800-7000-8000-000000000007") == PUSH
    assert ApnsIds(PUSH).derive(0x123456789ABC) == "2a9365eb-9655-8674-8000-123456789abc"
    assert ApnsIds(PUSH).derive(2**62 - 1) == "2a9365eb-9655-8674-bfff-ffffffffffff"


def test_apns_ids_are_canonical_constant_and_distinct() -> None:
    ids = ApnsIds(PUSH)
    numbers = [0, 1, 2**31, 2**48, 2**62 - 1]
    derived = [ids.derive(number) for number in numbers]
    assert [str(UUID(apns_id)) for apns_id in derived] == derived
    assert {UUID(apns_id).version for apns_id in derived} == {8}
    assert len(set(derived)) == len(numbers)
    assert ApnsIds(PUSH).derive(5) == ids.derive(5)
    assert ApnsIds(make_uuid7(1_767_225_600_000, 8)).derive(5) != ids.derive(5)


@given(st.lists(st.integers(0, 2**49)) | st.lists(st.integers(2**48 - 1, 2**48)))
def test_many_apns_ids_at_once_are_those_one_by_one(numbers: list[int]) -> None:
    ids = ApnsIds(PUSH)
    assert ids.derive_all(numbers) == [ids.derive(number) for number in numbers]


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 2**80 - 1),
)
def test_a_push_id_is_a_uuid_of_version_7_that_sorts_by_its_time(moment: datetime, random: int) -> None:
    milliseconds = int(moment.timestamp() * 1000)
    push_id = make_uuid7(milliseconds, random)
    assert (push_id.version, push_id.variant) == (7, "specified in RFC 4122")
    assert push_id.int >> 80 == milliseconds
    assert push_id.int & (1 << 62) - 1 == random & (1 << 62) - 1
    assert push_id.int >> 64 & 0xFFF == random >> 62 & 0xFFF
    assert smallest_push_id(moment) == UUID(int=milliseconds << 80) <= push_id


def test_a_new_id_is_made_of_the_time_and_ten_random_bytes() -> None:
    now = datetime.fromtimestamp(1_767_225_600.123, UTC)
    assert new_uuid7(now, lambda size: b"\x05" * size) == make_uuid7(
        1_767_225_600_123, int.from_bytes(b"\x05" * 10)
    )


def test_only_48_bits_of_the_time_fit() -> None:
    assert make_uuid7((1 << 48) + 5, 0) == make_uuid7(5, 0)


@pytest.mark.parametrize(
    ("now_ms", "random", "text"),
    [
        (0, 0, "00000000-0000-7000-8000-000000000000"),
        (0, (1 << 74) - 1, "00000000-0000-7fff-bfff-ffffffffffff"),
        (0, 1 << 74, "00000000-0000-7000-8000-000000000000"),
        (0, 1 << 62, "00000000-0000-7001-8000-000000000000"),
        (0, 1 << 61, "00000000-0000-7000-a000-000000000000"),
        ((1 << 48) - 1, 0, "ffffffff-ffff-7000-8000-000000000000"),
        (0x0123456789AB, 0x2AA_1234_5678_9ABC_DEF0, "01234567-89ab-7aa8-9234-56789abcdef0"),
    ],
)
def test_the_layout_of_a_push_id(now_ms: int, random: int, text: str) -> None:
    assert str(make_uuid7(now_ms, random)) == text


def test_a_new_id_asks_for_ten_random_bytes() -> None:
    sizes: list[int] = []

    def random(size: int) -> bytes:
        sizes.append(size)
        return bytes(size)

    new_uuid7(datetime(2026, 1, 1, tzinfo=UTC), random)
    assert sizes == [10]
