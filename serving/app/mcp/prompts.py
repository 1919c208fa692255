"""Prompts: ways to begin a talk about recommendations, which a person picks in an assistant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import mcp_types as types
from mcp.shared.exceptions import MCPError

from serving.app.mcp import answers
from serving.app.mcp.tools import AgentSettings, Desk
from serving.app.mcp.untrusted import NOTICE

_PICKED = 8  # items that a newcomer is asked about
_MOST_CHARS = 500
_RULES = """\
Keep to these rules:
- Name only items of the tools' answers, with their titles as given. Invent no item, title, number or reason.
- Give for each item the reasons that its answer has, with their numbers, in plain words; where there is none, say so.
- {notice}"""
_FEEDBACK_RULE = "\n- When I say what I think of an item, store it with `feedback` and the `list_id`; store nothing that I did not say."
_NEEDS_FEEDBACK = frozenset({"get_to_know"})

_PROMPTS = [
    types.Prompt(
        name="recommendation_talk",
        title="Recommend me something",
        description="A talk in turns: wishes, a list with reasons, refinements, feedback.",
        arguments=[types.PromptArgument(name="wish", description="What you are looking for.", required=False)],
    ),
    types.Prompt(
        name="get_to_know",
        title="Get to know my taste",
        description="Asks a newcomer about a few items, chosen so that the answers say most about the rest.",
        arguments=[],
    ),
    types.Prompt(
        name="why",
        title="Why this one?",
        description="Explains one item by its numbers.",
        arguments=[types.PromptArgument(name="item", description="Id of the item.", required=True)],
    ),
]


def prompts(settings: AgentSettings) -> list[types.Prompt]:
    """Return the prompts that there are; in read-only mode those that need no feedback."""
    return [prompt for prompt in _PROMPTS if not (settings.read_only and prompt.name in _NEEDS_FEEDBACK)]


async def get_prompt(name: str, given: Mapping[str, str], desk: Desk) -> types.GetPromptResult:
    """Write a prompt.

    Raises:
      MCPError: there is no such prompt, or it does not take these arguments.
      UnprocessableRequest: the catalogue has no such item.
      StoreError: the store does not answer.
    """
    there = prompts(desk.settings)
    prompt = next((prompt for prompt in there if prompt.name == name), None)
    if prompt is None:
        raise _refused(f"there is no such prompt; there are {', '.join(prompt.name for prompt in there)}")
    _check(prompt.arguments or [], given)
    if name == "get_to_know":
        text = await _get_to_know(desk)
    elif name == "why":
        text = _why(desk.known(given["item"]), desk)
    else:
        text = _talk(given.get("wish", ""), desk)
    message = types.PromptMessage(role="user", content=types.TextContent(text=text))
    return types.GetPromptResult(description=prompt.description, messages=[message])


def _talk(wish: str, desk: Desk) -> str:
    start = f"I am looking for: {wish.strip()}" if wish.strip() else "Ask me first what I am looking for."
    return (
        f"Help me to find something in the catalogue {desk.state.engine.catalogue.name}. {start}\n"
        "Call `recommend` with all of my turns so far, oldest first, and show me a few items. Tell me which conditions you "
        "understood (`understood.chips`), so that I can take them back; then refine.\n" + _rules(desk)
    )


async def _get_to_know(desk: Desk) -> str:
    picked = desk.state.engine.pick(await desk.events(), min(_PICKED, desk.settings.max_k))
    items = [
        {"id": item.id, "information": round(item.information, 4), "data": answers.title_data(item.title).model_dump()}
        for item in picked.items
    ]
    return (
        "Get to know my taste. Ask me about these items of the catalogue one after the other (like, dislike, do not know), and "
        "store each answer with `feedback`. Then call `recommend`.\n"
        f"Items, as JSON: {json.dumps(items, ensure_ascii=False)}\n" + _rules(desk)
    )


def _why(item: str, desk: Desk) -> str:
    return f"Call `explain` for the item with the id {json.dumps(item)} and tell me what its numbers say.\n" + _rules(
        desk
    )


def _rules(desk: Desk) -> str:
    return _RULES.format(notice=NOTICE) + ("" if desk.settings.read_only else _FEEDBACK_RULE)


def _check(takes: Sequence[types.PromptArgument], given: Mapping[str, str]) -> None:
    known = [argument.name for argument in takes]
    for name, value in given.items():
        if name not in known:
            raise _refused(f"the prompt takes {', '.join(known) or 'no arguments'} and nothing else")
        if len(value) > _MOST_CHARS:
            raise _refused(f"{name}: at most {_MOST_CHARS} characters")
    for argument in takes:
        if argument.required and not given.get(argument.name):
            raise _refused(f"{argument.name}: is needed")


def _refused(problem: str) -> MCPError:
    return MCPError(types.INVALID_PARAMS, problem)
