"""Parameters and dependencies that several routes share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.exceptions import HTTPException

from serving.app.http.errors import TOKEN_NEEDED
from serving.app.schemas import Id, Text
from serving.wire.tokens import Tokens

Texts = Annotated[list[Text], Query(max_length=16, default_factory=list)]
Ids = Annotated[list[Id], Query(max_length=500, default_factory=list)]
User = Annotated[str, Query(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
ListLength = Annotated[int, Query(ge=1)]


def require_token(tokens: Tokens | None) -> Any:
    """Return a dependency that answers 401 to requests without one of the tokens; None accepts all requests."""

    def check(request: Request) -> None:
        if tokens is not None and not tokens.allow(request.headers.get("authorization", "")):
            raise HTTPException(401, TOKEN_NEEDED, {"WWW-Authenticate": "Bearer"})

    return Depends(check)
