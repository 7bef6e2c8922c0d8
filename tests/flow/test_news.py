"""News: each number is told once, and too many of them are told to be too many."""

from __future__ import annotations

import anyio
import pytest

from worker.flow.news import News


async def test_numbers_are_told_once():
    """What was added since the last time comes in its order, and then no more."""
    news = News(most=10)
    news.add([3, 1])
    news.add([2])
    assert news.take() == [3, 1, 2]
    assert news.take() == []


async def test_more_than_are_kept_are_not_told():
    """Beyond so many the news is only that it is not known which; after that the next numbers are told again."""
    news = News(most=3)
    news.add([1, 2])
    news.add([3, 4])
    news.add([5])
    assert news.take() is None
    news.add([6])
    assert news.take() == [6]


async def test_wait_ends_with_news_or_with_its_time():
    """News that came before ends the wait at once; without any it takes its time."""
    news = News(most=3)
    news.add([1])
    begun_at = anyio.current_time()
    await news.wait(timeout_seconds=30)
    assert anyio.current_time() == pytest.approx(begun_at)
    await news.wait(timeout_seconds=30)
    assert anyio.current_time() - begun_at == pytest.approx(30, abs=0.1)
