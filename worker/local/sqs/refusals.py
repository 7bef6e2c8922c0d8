"""SQS's refusals: code, the older query protocol's code, HTTP status.

The three of each are those of the errors that SQS's service model declares for both of its protocols; the codes that it
does not declare (InvalidParameterValue, MissingParameter) are those that it answers.
"""

from __future__ import annotations

from typing import Any

from worker.local.protocol.documented_errors import SQS
from worker.local.protocol.refusals import ServiceError
from worker.local.protocol.shapes import Fault

_PREFIX = "AWS.SimpleQueueService."


def no_such_queue() -> ServiceError:
    """Also of a queue of another account: whether it exists is not for the caller to know."""
    return _documented("QueueDoesNotExist")


def bad_address(queue_url: str) -> ServiceError:
    """What was given is no queue's URL."""
    return _documented("InvalidAddress", f"The address {queue_url} is not valid for this endpoint.")


def name_exists(attribute: str) -> ServiceError:
    """The queue is there, with another value of the attribute."""
    message = f"A queue already exists with the same name and a different value for attribute {attribute}"
    return _documented("QueueNameExists", message)


def deleted_recently(wait_seconds: int) -> ServiceError:
    """The name is not free again yet."""
    message = (
        f"You must wait {wait_seconds} seconds after deleting a queue before you can create another with its name."
    )
    return _documented("QueueDeletedRecently", message)


def purge_in_progress(name: str, wait_seconds: int) -> ServiceError:
    """The queue was purged a moment ago."""
    message = f"Only one PurgeQueue operation on {name} is allowed every {wait_seconds} seconds."
    return _documented("PurgeQueueInProgress", message)


def over_limit() -> ServiceError:
    """Too many messages are in flight."""
    return _documented("OverLimit")


def bad_handle(handle: str) -> ServiceError:
    """The handle was never given out for this queue."""
    return _documented("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.')


def not_in_flight() -> ServiceError:
    """The message's visibility timeout is over."""
    return _documented("MessageNotInflight")


def bad_contents() -> ServiceError:
    """The body has a character that XML 1.0 does not allow."""
    return _documented("InvalidMessageContents")


def unknown_attribute(name: str) -> ServiceError:
    """A queue has no such attribute."""
    return ServiceError("InvalidAttributeName", f"Unknown Attribute {name}.", query_code="InvalidAttributeName")


def bad_attribute(name: str) -> ServiceError:
    """The attribute cannot have that value."""
    message = f"Invalid value for the parameter {name}."
    return ServiceError("InvalidAttributeValue", message, query_code="InvalidAttributeValue")


def bad_value(name: str, value: Any, reason: str) -> ServiceError:
    """The parameter cannot have that value."""
    return bad_parameter(f"Value {value} for parameter {name} is invalid. Reason: {reason}")


def bad_parameter(message: str) -> ServiceError:
    """What InvalidParameterValue says of anything else."""
    return ServiceError("InvalidParameterValueException", message, query_code="InvalidParameterValue")


def missing_parameter(name: str) -> ServiceError:
    """The parameter is needed."""
    message = f"The request must contain the parameter {name}."
    return ServiceError("MissingRequiredParameterException", message, query_code="MissingParameter")


def bad_batch(code: str, message: str) -> ServiceError:
    """The batch is refused as a whole."""
    return ServiceError(code, message, query_code=_PREFIX + code)


def of_fault(fault: Fault) -> ServiceError:
    """The refusal of a request that does not have its shape."""
    if fault.kind == "missing":
        return missing_parameter(fault.path)
    if fault.kind == "type":
        return ServiceError("SerializationException", str(fault))
    return bad_parameter(str(fault))


def of_entry(entry_id: str, error: ServiceError) -> dict[str, Any]:
    """How a batch reports the refusal of one of its entries."""
    code = (error.query_code or error.code).removeprefix(_PREFIX)
    return {"Id": entry_id, "SenderFault": True, "Code": code, "Message": error.message}


def _documented(code: str, message: str | None = None) -> ServiceError:
    """Status and older code stand in the table of SQS's errors, and the message where none is given."""
    found = SQS.errors[code]
    return ServiceError(code, found.message if message is None else message, found.status, found.query_code)
