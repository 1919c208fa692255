"""Exceptions of the server and the client.

    ServingError                 all of them; a TriptychError, so the command line prints one line and exits with 2
      StartError                 the server cannot start: no model, no folder, the port is taken
      InvalidRequestError        the request is not one that the model takes (INVALID_ARGUMENT, OUT_OF_RANGE)
      NotFoundError              no such model or version is served (NOT_FOUND)
      FailedPreconditionError    the model has no such signature, or is not in a state to answer (FAILED_PRECONDITION)
      UnavailableError           no server answers there (UNAVAILABLE)
      DeadlineExceededError      no answer in time (DEADLINE_EXCEEDED)
      ResourceExhaustedError     a message is too large, or the server is full (RESOURCE_EXHAUSTED)
      AccessDeniedError          the server refuses this caller (UNAUTHENTICATED, PERMISSION_DENIED)
      UnsupportedError           the server does not support that (UNIMPLEMENTED)
      ServerFailureError         any other failure of the server (INTERNAL, UNKNOWN, ...)

The names in brackets are the status codes of gRPC, which TensorFlow Serving answers with.
"""

from __future__ import annotations

from tfrecs.schema import TriptychError


class ServingError(TriptychError):
    """Base of all errors of serving.

    Attributes:
      details: the full message of the server; "" if the error did not come from a server.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class StartError(ServingError):
    """The server cannot start."""


class InvalidRequestError(ServingError):
    """The request is not one that the model takes."""


class NotFoundError(ServingError):
    """No such model or version is served."""


class FailedPreconditionError(ServingError):
    """The model has no such signature, or is not in a state to answer."""


class UnavailableError(ServingError):
    """No server answers there."""


class DeadlineExceededError(ServingError):
    """No answer within the timeout."""


class ResourceExhaustedError(ServingError):
    """A message is larger than client or server accepts, or the server is full."""


class AccessDeniedError(ServingError):
    """The server refuses this caller."""


class UnsupportedError(ServingError):
    """The server does not support that."""


class ServerFailureError(ServingError):
    """The server failed, for a reason other than the request."""


_BY_CODE: dict[str, type[ServingError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "OUT_OF_RANGE": InvalidRequestError,
    "NOT_FOUND": NotFoundError,
    "FAILED_PRECONDITION": FailedPreconditionError,
    "UNAVAILABLE": UnavailableError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "RESOURCE_EXHAUSTED": ResourceExhaustedError,
    "UNAUTHENTICATED": AccessDeniedError,
    "PERMISSION_DENIED": AccessDeniedError,
    "UNIMPLEMENTED": UnsupportedError,
}


def from_status(code: str, details: str, *, target: str, timeout: float) -> ServingError:
    """Make the exception for the status of a call.

    Args:
      code: name of a gRPC status code, such as "NOT_FOUND".
      details: message of the status; its first line goes into the exception's message.
      target: host:port of the server.
      timeout: seconds that the call could take.
    """
    kind = _BY_CODE.get(code, ServerFailureError)
    first = details.strip().split("\n", 1)[0]
    if kind is UnavailableError:
        message = f"{target}: no server answers there ({first}); check the address, or start one (triptych serve)"
    elif kind is DeadlineExceededError:
        message = f"{target}: no answer within {timeout:g} s; give more time (timeout) or look at the server"
    elif kind is ServerFailureError:
        message = f"{target}: the server failed ({code}: {first}); its log says why"
    else:
        message = f"{target}: {first} ({code})"
    return kind(message, details)
