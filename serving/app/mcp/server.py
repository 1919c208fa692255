"""The Model Context Protocol server: checks calls, runs the tools, and turns every error into one line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from serving.app.http.errors import TOKEN_NEEDED
from serving.app.intake import UnprocessableRequest
from serving.app.mcp.caller import Caller
from serving.app.mcp.prompts import get_prompt, prompts
from serving.app.mcp.readiness import Readiness
from serving.app.mcp.resources import RESOURCES, TEMPLATES, complete, read_resource
from serving.app.mcp.tools import TOOLS, AgentSettings, Desk, Tool
from serving.app.mcp.untrusted import NOTICE
from serving.app.rate import RateLimiter
from serving.app.state import AppState
from serving.app.store.base import StoreError
from serving.wire.errors import InvalidRequestError, ServingError

_log = logging.getLogger(__name__)
_SHOWN_PROBLEMS = 3
_CONFIRM = "delete"
_INSTRUCTIONS = (
    "Triptych recommends items of one catalogue and gives the numbers behind each recommendation. Say only what its answers "
    f"say: ids, titles, scores and reasons as given. {NOTICE} Begin with `recommend` or `search`, and send all turns of the talk "
    "each time. The user is that of the connection; no tool takes one."
)

Identify = Callable[[Any], Caller]
"""Returns the caller of an HTTP request (None over stdio). Raises UnprocessableRequest."""


class Refused(Exception):  # noqa: N818  (an answer, not a fault)
    """A call that is answered with one line of text."""


class AgentServer:
    """Serves tools, resources and prompts over a running app state.

    Args:
      state: started, and stopped by its owner.
      settings: limits.
      identify: says who calls.
    """

    def __init__(self, state: AppState, settings: AgentSettings, identify: Identify) -> None:
        self._state, self._settings, self._identify = state, settings, identify
        self._limiter = RateLimiter(settings.rate, "mcp.rate")
        self._readiness = Readiness(state, settings.start_wait)
        self._tools = {tool.name: tool for tool in TOOLS if not (settings.read_only and tool.writes)}
        name = state.components.name
        self.protocol: Server[Any] = Server(
            "triptych",
            version=settings.version,
            title=f"Triptych: {name}",
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_completion=self._complete,
        )

    async def _list_tools(self, context: ServerRequestContext[Any], params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_describe(tool, self._settings) for tool in self._tools.values()])

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        tool = self._tools.get(params.name)
        if tool is None:
            read_only = any(tool.name == params.name for tool in TOOLS)
            problem = "this server is read-only and does not have it" if read_only else "there is no such tool"
            raise MCPError(types.INVALID_PARAMS, f"{problem}; there are {', '.join(self._tools)}")
        outcome = "failed"
        try:
            caller = self._admit(context)
            if tool.writes and not caller.may_write:
                raise Refused(TOKEN_NEEDED)
            given = _validated(tool, params.arguments or {})
            if tool.deletes and (request := await _confirmation(context, params, caller.named())):
                outcome = "asked"
                return request
            if tool.needs_model:
                await self._readiness.wait()
            answer = await tool.run(Desk(self._state, self._settings, caller), given)
            outcome = "answered"
            return _result(answer)
        except (UnprocessableRequest, InvalidRequestError, Refused) as error:
            outcome = "refused"
            return _error(tool.name, error)
        except ServingError as error:
            self._state.metrics.unavailable.labels("store" if isinstance(error, StoreError) else "model").inc()
            return _error(tool.name, error)
        except Exception:  # the agent gets one line, the operator the traceback
            _log.exception("tool %s failed", tool.name)
            return _error(tool.name, Refused("failed inside of the server; its log says why"))
        finally:
            self._state.metrics.tools.labels(tool.name, outcome).inc()

    async def _list_resources(self, context: ServerRequestContext[Any], params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=list(RESOURCES))

    async def _list_templates(
        self, context: ServerRequestContext[Any], params: Any
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=list(TEMPLATES))

    async def _read_resource(
        self, context: ServerRequestContext[Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        self._admit_or_raise(context)
        return read_resource(str(params.uri), self._state, self._settings)

    async def _list_prompts(self, context: ServerRequestContext[Any], params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=prompts(self._settings))

    async def _get_prompt(
        self, context: ServerRequestContext[Any], params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        desk = Desk(self._state, self._settings, self._admit_or_raise(context))
        try:
            return await get_prompt(params.name, params.arguments or {}, desk)
        except (UnprocessableRequest, ServingError) as error:
            raise MCPError(types.INVALID_PARAMS, _line(error)) from error

    async def _complete(
        self, context: ServerRequestContext[Any], params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        self._admit_or_raise(context)
        return complete(params, self._state)

    def _admit(self, context: ServerRequestContext[Any]) -> Caller:
        """Return the caller. Raises Refused if they call too often, UnprocessableRequest for an invalid user id."""
        caller = self._identify(context.request)
        seconds = self._limiter.hit(caller.user or f"@{caller.address}")
        if seconds:
            raise Refused(f"more than {self._limiter.rate} calls (mcp.rate); try again in {seconds} s")
        return caller

    def _admit_or_raise(self, context: ServerRequestContext[Any]) -> Caller:
        try:
            return self._admit(context)
        except (Refused, UnprocessableRequest) as error:
            raise MCPError(types.INVALID_REQUEST, _line(error)) from error


def _describe(tool: Tool, settings: AgentSettings) -> types.Tool:
    schema = tool.arguments.model_json_schema()
    if "k" in schema.get("properties", {}):
        schema["properties"]["k"] |= {
            "maximum": settings.max_k,
            "default": min(schema["properties"]["k"]["default"], settings.max_k),
        }
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=schema,
        output_schema=tool.answer.model_json_schema(mode="serialization"),
        annotations=types.ToolAnnotations(
            read_only_hint=not tool.writes,
            destructive_hint=tool.deletes,
            idempotent_hint=tool.deletes or not tool.writes,
            open_world_hint=False,
        ),
    )


def _result(answer: BaseModel) -> types.CallToolResult:
    # The text is for hosts that show a model nothing else: as JSON, so that its quoting bounds every string.
    content = types.TextContent(text=answer.model_dump_json())
    return types.CallToolResult(content=[content], structured_content=answer.model_dump(mode="json"))


def _error(tool: str, error: Exception) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=f"{tool}: {_line(error)}")], is_error=True)


def _validated(tool: Tool, given: dict[str, Any]) -> BaseModel:
    """Read the arguments of a call. Raises UnprocessableRequest, without the values that were sent."""
    try:
        return tool.arguments.model_validate(given)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [
            (".".join(str(part) for part in detail["loc"]) or "arguments", detail["msg"].removeprefix("Value error, "))
            for detail in details
        ]
        raise UnprocessableRequest(problems) from error


def _line(error: Exception) -> str:
    """Put an error into one line."""
    if isinstance(error, UnprocessableRequest):
        text = "; ".join(f"{where}: {what}" for where, what in error.problems[:_SHOWN_PROBLEMS])
    elif isinstance(error, ServingError) and not isinstance(error, InvalidRequestError | StoreError):
        text = f"model server: {error}"
    else:
        text = str(error)
    return " ".join(text.split())


async def _confirmation(
    context: ServerRequestContext[Any], params: types.CallToolRequestParams, user: str
) -> types.InputRequiredResult | None:
    """Let the person at the client confirm a deletion, where the client can ask them.

    Returns:
      The question, which the client answers by calling again; None if the person has agreed, or the client cannot ask.

    Raises:
      Refused: the person has not agreed.
    """
    capabilities = context.session.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        return None
    question = types.ElicitRequestFormParams(
        message=f"Delete everything that is stored about the user {user}? It cannot be undone.",
        requested_schema={
            "type": "object",
            "properties": {_CONFIRM: {"type": "boolean", "title": "Delete everything"}},
            "required": [_CONFIRM],
        },
    )
    answer: Any = None
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        answer = (params.input_responses or {}).get(_CONFIRM)
        if answer is None:
            return types.InputRequiredResult(input_requests={_CONFIRM: types.ElicitRequest(params=question)})
    elif context.session.can_send_request:
        try:
            answer = await context.session.elicit_form(question.message, question.requested_schema, context.request_id)
        except MCPError as error:
            raise Refused("the client could not ask the user; nothing was deleted") from error
    else:
        return None
    agreed = isinstance(answer, types.ElicitResult) and answer.action == "accept"
    if not (agreed and (answer.content or {}).get(_CONFIRM) is True):
        raise Refused("the user did not agree; nothing was deleted")
    return None
