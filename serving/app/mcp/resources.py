"""Resources: the catalogue, its categories and its items."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate

from serving.app.mcp import answers
from serving.app.mcp.tools import AgentSettings
from serving.app.mcp.untrusted import NOTICE
from serving.app.state import AppState
from serving.app.views import about_answer

CATALOGUE, CATEGORIES = "triptych://catalogue", "triptych://categories"
CATEGORY, ITEM = "triptych://categories/{category}", "triptych://items/{item}"
_JSON = "application/json"
_MOST_COMPLETIONS = 100  # the protocol's

RESOURCES = [
    types.Resource(
        uri=CATALOGUE,
        name="catalogue",
        title="The catalogue",
        description="What is in the catalogue: number of items, modalities, media, numbers with their ranges, labels, example questions.",
        mime_type=_JSON,
    ),
    types.Resource(
        uri=CATEGORIES,
        name="categories",
        title="Categories",
        description="All categories with their numbers of items.",
        mime_type=_JSON,
    ),
]
TEMPLATES = [
    types.ResourceTemplate(
        uri_template=CATEGORY,
        name="category",
        title="A category",
        description="Its most popular items.",
        mime_type=_JSON,
    ),
    types.ResourceTemplate(
        uri_template=ITEM,
        name="item",
        title="An item",
        description="What the catalogue has of an item.",
        mime_type=_JSON,
    ),
]


def read_resource(uri: str, state: AppState, settings: AgentSettings) -> types.ReadResourceResult:
    """Read a resource. Raises MCPError if there is none at this address."""
    content = {"notice": NOTICE, **_content(uri, state, settings)}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, mime_type=_JSON, text=text)])


def complete(params: types.CompleteRequestParams, state: AppState) -> types.CompleteResult:
    """Complete the category, or the item, of a resource's address."""
    known: list[str] = []
    if isinstance(params.ref, types.ResourceTemplateReference):
        catalogue = state.engine.catalogue
        of_template = {CATEGORY: list(catalogue.categories), ITEM: catalogue.ids}
        known = of_template.get(params.ref.uri, [])
    start = params.argument.value.casefold()
    matches = [name for name in known if name.casefold().startswith(start)]
    return types.CompleteResult(
        completion=types.Completion(
            values=matches[:_MOST_COMPLETIONS], total=len(matches), has_more=len(matches) > _MOST_COMPLETIONS
        )
    )


def _content(uri: str, state: AppState, settings: AgentSettings) -> dict[str, Any]:
    catalogue = state.engine.catalogue
    if uri == CATALOGUE:
        about = about_answer(catalogue, state.components.settings, False).model_dump(
            mode="json", exclude={"categories", "examples", "token", "max_k"}
        )
        examples = [answers.title_data(example).title for example in state.components.settings.examples]
        return {
            **about,
            "version": catalogue.version,
            "takes_text": catalogue.takes_text,
            "categories": len(catalogue.categories),
            "max_k": settings.max_k,
            "data": {"examples": examples},
        }
    if uri == CATEGORIES:
        counts = [
            {
                "name": answers.title_data(name).title,
                "items": len(rows),
                "uri": f"{CATEGORIES}/{quote(name, safe='', errors='replace')}",
            }
            for name, rows in catalogue.categories.items()
        ]
        return {"data": {"categories": counts}}
    category = _variable(CATEGORY, "category", uri)
    if category in catalogue.categories:
        items = answers.category_items(catalogue, category, settings.shown_items)
        total = len(catalogue.categories[category])
        return {"items": total, "shown": items, "data": answers.title_data(category).model_dump()}
    item = _variable(ITEM, "item", uri)
    if item in catalogue.position:
        card = catalogue.cards([item])[0]
        return {"item": answers.item_answer(card, settings.item_chars).model_dump(mode="json")}
    what = next((name for name, value in (("category", category), ("item", item)) if value), "resource")
    raise MCPError(types.INVALID_PARAMS, f"there is no such {what}; {CATALOGUE} and {CATEGORIES} say what there is")


def _variable(template: str, name: str, uri: str) -> str:
    """Return the part of an address that a template's variable stands for, "" where it does not fit."""
    value = (UriTemplate.parse(template).match(uri) or {}).get(name, "")
    return value if isinstance(value, str) else ""
