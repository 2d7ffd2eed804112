"""Block ranges in human notation."""

import pytest

from blockscan.errors import ConfigError
from pipelines.ranges import BlockRange, parse_range


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        ("100:200", 100, 200),
        ("16M:17M", 16_000_000, 17_000_000),
        ("15M:+1000", 15_000_000, 15_001_000),
        ("15.5M:16M", 15_500_000, 16_000_000),
        ("-1000:", 9_001, 10_001),
        ("-1000:7000", 6_000, 7_000),
        (":5_000", 0, 5_000),
        ("5k:", 5_000, None),
        ("42", 42, 43),
        ("-20K:", 0, 10_001),
    ],
)
def test_ranges_mean_what_cryo_means(text: str, start: int, stop: int | None) -> None:
    assert parse_range(text, newest=10_000) == BlockRange(start, stop)


@pytest.mark.parametrize(
    "text", ["", "a:b", "10:5", "7:7", "1..5", "1.00001K:2K", "-:", "+5", "5:-3", "1" * 5000]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_range(text, newest=10_000)


def test_counting_from_an_unknown_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="counts from the newest block"):
        parse_range("-10:")


def test_membership_excludes_the_end() -> None:
    blocks = BlockRange(5, 7)
    assert [number in blocks for number in (4, 5, 6, 7)] == [False, True, True, False]
    assert 10**9 in BlockRange(5, None)
