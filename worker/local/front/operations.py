"""The table of operations: what each is called, what its requests look like, and what carries it out."""

from __future__ import annotations

from functools import partial

from worker.local.moderation.quotas import Quotas
from worker.local.moderation.reads import Reads
from worker.local.moderation.starts import Starts
from worker.local.protocol.identity import Caller
from worker.local.protocol.json_protocol import Act, Operation
from worker.local.protocol.refusals import ServiceError, invalid
from worker.local.protocol.shapes import Fault, input_shape, service_model
from worker.local.sqs.refusals import of_fault
from worker.local.sqs.service import Sqs, sqs_model


def rekognition_operations(starts: Starts, reads: Reads, quotas: Quotas) -> dict[str, Operation]:
    """Rekognition's operations by X-Amz-Target."""
    model = service_model("rekognition")
    table: dict[str, Act] = {"StartContentModeration": starts.start, "GetContentModeration": reads.get}
    return {
        f"RekognitionService.{name}": Operation(
            model=model.operation_model(name),
            shape=input_shape(model, name),
            content_type="application/x-amz-json-1.1",
            admit=partial(quotas.admit, operation=name),
            refuse=_rekognition_refusal,
            act=act,
        )
        for name, act in table.items()
    }


def sqs_operations(sqs: Sqs) -> dict[str, Operation]:
    """SQS's operations by X-Amz-Target."""
    model = sqs_model()
    return {
        f"AmazonSQS.{name}": Operation(
            model=model.operation_model(name),
            shape=input_shape(model, name),
            content_type="application/x-amz-json-1.0",
            admit=_everybody,
            refuse=of_fault,
            act=act,
        )
        for name, act in sqs.operations().items()
    }


def _everybody(caller: Caller) -> None:
    """SQS's standard queues have no quota on calls."""


def _rekognition_refusal(fault: Fault) -> ServiceError:
    if fault.kind == "type":
        return ServiceError("SerializationException", str(fault))
    return invalid(f"{fault}.")
