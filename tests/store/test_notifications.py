"""Notices between nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from relay.store.database import Database
from relay.store.notifications import NodeNotifier, NotificationTopic
from tests.eventually import eventually


class Node:
    """A notifier that records the topics of the notices it handles."""

    def __init__(self, database: Database) -> None:
        self.topics: list[NotificationTopic] = []
        self.notifier = NodeNotifier(
            database, uuid4(), {topic: self._recorder(topic) for topic in NotificationTopic}
        )

    def _recorder(self, topic: NotificationTopic):
        return lambda: self.topics.append(topic)


@pytest.fixture
async def nodes(database: Database) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes that listen. What a node missed before is handled as a notice of every topic."""
    both = Node(database), Node(database)
    listening = [asyncio.create_task(node.notifier.run()) for node in both]
    for node in both:
        await eventually(lambda node=node: len(node.topics) == len(NotificationTopic))
        node.topics.clear()
    yield both
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)


async def test_a_notice_reaches_other_nodes_only(nodes: tuple[Node, Node]) -> None:
    sender, receiver = nodes
    sender.notifier.notify_nodes(NotificationTopic.TOKENS)
    await eventually(lambda: receiver.topics == [NotificationTopic.TOKENS])
    receiver.notifier.notify_nodes(NotificationTopic.WORK)
    await eventually(lambda: sender.topics == [NotificationTopic.WORK])
    assert receiver.topics == [NotificationTopic.TOKENS]


async def test_notices_of_one_moment_are_sent_together(nodes: tuple[Node, Node]) -> None:
    sender, receiver = nodes
    for _ in range(100):
        sender.notifier.notify_nodes(NotificationTopic.WORK)
        sender.notifier.notify_nodes(NotificationTopic.CHANNELS)
    await sender.notifier.aclose()
    await eventually(lambda: set(receiver.topics) == {NotificationTopic.WORK, NotificationTopic.CHANNELS})
    assert len(receiver.topics) == 2
