"""Status codes: constructors of `tf.errors.OpError`, and their mapping to gRPC and HTTP.

Errors inside the server are `tf.errors.OpError`, the canonical codes that the runtime itself raises. gRPC uses the same
numbers; the table for HTTP is TensorFlow Serving's (model_servers/http_server.cc, ToHTTPStatusCode).
"""

from __future__ import annotations

import grpc
import tensorflow as tf

GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

_HTTP_CODES = {
    "OK": 200,
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
}


def code_name(code: int) -> str:
    """The name of a canonical code, such as "NOT_FOUND" for 5."""
    return GRPC_CODES[code].name


def http_code(code: int) -> int:
    """The HTTP status of a canonical code; 500 for those without an entry in the table."""
    return _HTTP_CODES.get(code_name(code), 500)


def as_op_error(error: Exception) -> tf.errors.OpError:
    """Convert an exception: an OpError stays, MemoryError becomes RESOURCE_EXHAUSTED, any other INTERNAL."""
    if isinstance(error, tf.errors.OpError):
        return error
    if isinstance(error, MemoryError):
        return tf.errors.ResourceExhaustedError(None, None, "not enough memory for this request")
    return tf.errors.InternalError(None, None, f"{type(error).__name__}: {error}")


def invalid(message: str) -> tf.errors.InvalidArgumentError:
    return tf.errors.InvalidArgumentError(None, None, message)


def not_found(message: str) -> tf.errors.NotFoundError:
    return tf.errors.NotFoundError(None, None, message)


def failed_precondition(message: str) -> tf.errors.FailedPreconditionError:
    return tf.errors.FailedPreconditionError(None, None, message)


def resource_exhausted(message: str) -> tf.errors.ResourceExhaustedError:
    return tf.errors.ResourceExhaustedError(None, None, message)


def deadline_exceeded(message: str) -> tf.errors.DeadlineExceededError:
    return tf.errors.DeadlineExceededError(None, None, message)


def unimplemented(message: str) -> tf.errors.UnimplementedError:
    return tf.errors.UnimplementedError(None, None, message)
