"""The table of operations: what each is called, what its requests look like, and what carries it out."""

from __future__ import annotations

from collections.abc import Callable

from worker.local.front import Act, Operation
from worker.local.identity import Caller
from worker.local.quotas import Quotas
from worker.local.reads import Reads
from worker.local.refusals import ServiceError
from worker.local.shapes import Fault, input_shape, service_model
from worker.local.sqs import Sqs
from worker.local.starts import Starts


def rekognition_operations(starts: Starts, reads: Reads, quotas: Quotas) -> dict[str, Operation]:
    """Rekognition's operations by X-Amz-Target."""
    model = service_model("rekognition")
    table: dict[str, tuple[Act, Callable[[Caller], None]]] = {
        "StartContentModeration": (starts.start, quotas.admit_start),
        "GetContentModeration": (reads.get, quotas.admit_get),
    }
    return {
        f"RekognitionService.{name}": Operation(
            name=name,
            content_type="application/x-amz-json-1.1",
            shape=input_shape(model, name),
            admit=admit,
            refuse=_rekognition_refusal,
            act=act,
        )
        for name, (act, admit) in table.items()
    }


def sqs_operations(sqs: Sqs) -> dict[str, Operation]:
    """SQS's operations by X-Amz-Target."""
    model = service_model("sqs")
    table: dict[str, Act] = {
        "ReceiveMessage": sqs.receive,
        "SendMessage": sqs.send,
        "DeleteMessage": sqs.delete,
        "DeleteMessageBatch": sqs.delete_batch,
        "ChangeMessageVisibility": sqs.change_visibility,
        "ChangeMessageVisibilityBatch": sqs.change_visibility_batch,
        "GetQueueAttributes": sqs.attributes,
        "GetQueueUrl": sqs.url,
        "PurgeQueue": sqs.purge,
    }
    return {
        f"AmazonSQS.{name}": Operation(
            name=name,
            content_type="application/x-amz-json-1.0",
            shape=input_shape(model, name),
            admit=_everybody,
            refuse=_sqs_refusal,
            act=act,
        )
        for name, act in table.items()
    }


def _everybody(caller: Caller) -> None:
    """SQS's standard queues have no quota on calls."""


def _rekognition_refusal(fault: Fault) -> ServiceError:
    if fault.kind == "type":
        return ServiceError("SerializationException", str(fault))
    return ServiceError("InvalidParameterException", f"Request has invalid parameters: {fault}")


def _sqs_refusal(fault: Fault) -> ServiceError:
    if fault.kind == "missing":
        message = f"The request must contain the parameter {fault.path}."
        return ServiceError("MissingRequiredParameterException", message, query_code="MissingParameter")
    if fault.kind == "type":
        return ServiceError("SerializationException", str(fault))
    return ServiceError("InvalidParameterValueException", str(fault), query_code="InvalidParameterValue")
