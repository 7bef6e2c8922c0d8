"""SQS as the service speaks it: its operations by name, and its model."""

from __future__ import annotations

from botocore.loaders import Loader
from botocore.model import ServiceModel

from worker.local.protocol.json_protocol import Act
from worker.local.sqs.channels import Channels
from worker.local.sqs.directory import Directory
from worker.local.sqs.message_operations import MessageOperations
from worker.local.sqs.queue_operations import QueueOperations
from worker.local.sqs.queues import Queues
from worker.local.state.database import Database


class Sqs:
    """The operations on standard queues and their messages."""

    def __init__(self, database: Database, queues: Queues, channels: Channels, service_url: str) -> None:
        directory = Directory(database, channels, service_url)
        self._queues = QueueOperations(database, queues, channels, directory)
        self._messages = MessageOperations(queues, directory)

    def operations(self) -> dict[str, Act]:
        """What carries out each operation."""
        return {
            "CreateQueue": self._queues.create,
            "DeleteQueue": self._queues.delete,
            "ListQueues": self._queues.list_queues,
            "ListDeadLetterSourceQueues": self._queues.list_sources,
            "GetQueueUrl": self._queues.url,
            "GetQueueAttributes": self._queues.attributes,
            "SetQueueAttributes": self._queues.set_attributes,
            "PurgeQueue": self._queues.purge,
            "SendMessage": self._messages.send,
            "SendMessageBatch": self._messages.send_batch,
            "ReceiveMessage": self._messages.receive,
            "DeleteMessage": self._messages.delete,
            "DeleteMessageBatch": self._messages.delete_batch,
            "ChangeMessageVisibility": self._messages.change_visibility,
            "ChangeMessageVisibilityBatch": self._messages.change_visibility_batch,
        }


def sqs_model() -> ServiceModel:
    """SQS's model, with the names of attributes left open: SQS refuses unknown ones by a code of its own.

    Its list for AttributeNames of a receive, too, lacks the names that one asks for there.
    """
    description = Loader().load_service_model("sqs", "service-2")
    open_names = {name: {"type": "string"} for name in ("QueueAttributeName", "MessageSystemAttributeName")}
    return ServiceModel(description | {"shapes": description["shapes"] | open_names})
