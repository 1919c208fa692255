"""Who is behind a connection. The person who configures it says so; a language model cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from serving.app.intake import UnprocessableRequest
from serving.app.schemas import Id
from serving.app.state import AppOptions

USER_HEADER = "x-triptych-user"
_ID: TypeAdapter[str] = TypeAdapter(Id)


@dataclass(frozen=True)
class Caller:
    """The user of a connection.

    Attributes:
      user: user id, "" for nobody.
      address: of the client, which the rate limit counts for where there is no user.
      may_write: whether a token that writes need was sent.
    """

    user: str = ""
    address: str = ""
    may_write: bool = True

    def named(self) -> str:
        """Return the user id. Raises UnprocessableRequest if the connection has none."""
        if not self.user:
            remedy = f"start `triptych mcp` with --user, or send the header {USER_HEADER}"
            raise UnprocessableRequest([("user", f"this connection has no user; {remedy}")])
        return self.user


def check_user(user: str) -> str:
    """Return a user id. Raises UnprocessableRequest if it is none."""
    try:
        return _ID.validate_python(user)
    except ValidationError as error:
        problem = "a user id has 1 to 128 characters and no control characters"
        raise UnprocessableRequest([("user", problem)]) from error


def caller_of_request(headers: Mapping[str, str], address: str, options: AppOptions) -> Caller:
    """Read the caller from the headers of an HTTP request. Raises UnprocessableRequest for an invalid user id."""
    user = headers.get(USER_HEADER, "")
    tokens = options.write_tokens
    return Caller(
        user=check_user(user) if user else "",
        address=address,
        may_write=tokens is None or tokens.allow(headers.get("authorization", "")),
    )
