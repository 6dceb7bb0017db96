"""Wake-ups between the parts of a node, and between nodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from relay.store.database import Database
from relay.store.notifications import NodeNotifier, NotificationTopic


class NodeSignals:
    """Wake-ups for queued work: immediate in this process, by notice (LISTEN/NOTIFY) at the other nodes.

    Parts subscribe after all of them exist, so the order in which they are built does not matter.
    """

    def __init__(self, database: Database, node_id: UUID) -> None:
        self._callbacks: dict[NotificationTopic, tuple[Callable[[], None], ...]] = {}
        self.notifier = NodeNotifier(
            database, node_id, {topic: partial(self._call, topic) for topic in NotificationTopic}
        )

    def subscribe(self, topic: NotificationTopic, *callbacks: Callable[[], None]) -> None:
        """Call `callbacks` for notices about `topic` from other nodes and, for work, from this process."""
        self._callbacks[topic] = callbacks

    def announce_work(self) -> None:
        """Wake the dispatchers of all nodes: this one may be busy, or have no role to dispatch."""
        self._call(NotificationTopic.WORK)
        self.notifier.notify_nodes(NotificationTopic.WORK)

    def announce_channel_work(self) -> None:
        """Wake the channel dispatchers of all nodes."""
        self._call(NotificationTopic.CHANNELS)
        self.notifier.notify_nodes(NotificationTopic.CHANNELS)

    def announce_returned_work(self) -> None:
        """Wake the dispatchers of the other nodes: this one shuts down and returned its batches to the queue."""
        self.notifier.notify_nodes(NotificationTopic.WORK)

    def announce_revocation(self) -> None:
        """Let the other nodes drop their cached API tokens."""
        self.notifier.notify_nodes(NotificationTopic.TOKENS)

    def _call(self, topic: NotificationTopic) -> None:
        for callback in self._callbacks.get(topic, ()):
            callback()
