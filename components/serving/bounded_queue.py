"""A queue that drops instead of waiting: what is copied for others must not hold up an answer."""

from __future__ import annotations

import collections
import threading
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class BoundedQueue(Generic[_Item]):
    """From any thread, to any thread.

    Args:
        max_items: Items that may wait.
        max_bytes: What they may hold together.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: collections.deque[tuple[_Item, int]] = collections.deque()
        self._num_bytes = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def offer(self, item: _Item, num_bytes: int) -> bool:
        """Adds an item, or says that it is dropped. Never waits for a reader."""
        with self._changed:
            is_full = len(self._items) >= self._max_items
            if is_full or self._is_closed or self._num_bytes + num_bytes > self._max_bytes:
                return False
            self._items.append((item, num_bytes))
            self._num_bytes += num_bytes
            self._changed.notify()
            return True

    def take(self, timeout_seconds: float | None = None) -> _Item | None:
        """The oldest item; None where none comes in time, or none will come: see `is_over`."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closed, timeout_seconds)
            if not self._items:
                return None
            item, num_bytes = self._items.popleft()
            self._num_bytes -= num_bytes
            return item

    def close(self) -> None:
        """Takes nothing more; what waits is still given out."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Closed, and everything was given out."""
        with self._changed:
            return self._is_closed and not self._items
