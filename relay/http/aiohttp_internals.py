"""The private members of aiohttp's server that the relay uses. They are used nowhere else.

aiohttp starts a task for each connection. The task waits for parsed requests, and answers one after another. The fast
path answers a request instead of that task, and for this reads and changes the queue between parser and task.

`pyproject.toml` pins `aiohttp~=3.14`. `tests/http/test_aiohttp_internals.py` names each of these members, and fails by
that name when one changes.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.streams import StreamReader


class ServerRunner(web.AppRunner):
    """An `AppRunner` whose server a subclass may replace."""

    __slots__ = ()

    def replace_server(self, server: web.Server) -> web.Server:
        """Return the server to use instead of aiohttp's `server`."""
        return server

    async def _make_server(self) -> web.Server:
        return self.replace_server(await super()._make_server())


class QueueingConnection(web.RequestHandler):
    """One of aiohttp's connections, with access to its queue of parsed requests."""

    __slots__ = ()

    @property
    def parsed_requests(self) -> int:
        """The number of requests that were parsed on this connection so far."""
        return self._request_count

    @property
    def has_queued_requests(self) -> bool:
        """Whether parsed requests wait to be answered."""
        return bool(self._messages)

    @property
    def is_task_waiting(self) -> bool:
        """Whether aiohttp's task waits for a request. It may have been woken already."""
        return self._waiter is not None

    @property
    def is_task_idle(self) -> bool:
        """Whether aiohttp's task waits for a request, and has not been woken."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def is_task_answering(self) -> bool:
        """Whether aiohttp's task answers a request."""
        return self._request_in_progress

    @property
    def is_closing(self) -> bool:
        """Whether the connection closes as soon as the current request is answered."""
        return self._close

    def feed_without_waking(self, data: bytes) -> None:
        """Parse `data` as aiohttp does, but leave its task asleep. `wake_task` is due if requests are queued."""
        waiter, self._waiter = self._waiter, None
        super().data_received(data)
        self._waiter = waiter

    def wake_task(self) -> None:
        """Let aiohttp's task answer the first request of the queue."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def first_request(self) -> tuple[Any, StreamReader]:
        """Return head and body of the first request of the queue. The head is no RawRequestMessage for bad requests."""
        return self._messages[0]

    def last_body(self) -> StreamReader:
        """Return the body of the last request of the queue."""
        return self._messages[-1][1]

    def take_queue(self) -> list[Any]:
        """Remove all requests from the queue and return them, for `restore_queue`."""
        requests = list(self._messages)
        self._messages.clear()
        return requests

    def restore_queue(self, requests: list[Any]) -> None:
        """Append requests that `take_queue` returned."""
        self._messages.extend(requests)

    def unread_first_body(self, body: bytes) -> None:
        """Give the first request of the queue its `body` back, which was read from it as a whole."""
        message, _ = self._messages[0]
        unread = StreamReader(self, self._read_bufsize, loop=self._loop)
        unread.feed_data(body)
        unread.feed_eof()
        self._messages[0] = message, unread

    def drop_first_request(self) -> None:
        """Remove the first request from the queue, as aiohttp's task does before it answers."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
