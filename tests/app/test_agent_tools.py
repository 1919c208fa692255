"""The tools for agents, called by the SDK's client in this process: talks, numbers, users, limits, refusals."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agent_parts import agent_settings, answer, client_of, like, listed, refusal, state
from app_client import opened
from app_parts import CATEGORIES, VECTORS, WEIGHTS, TinyModel
from mcp import MCPError
from mcp_types import ElicitResult

from serving.app.ranking.rules import parse_rules

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def test_tools_have_schemas_hints_and_no_place_for_a_user(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == ["recommend", "search", "similar", "explain", "item", "profile", "feedback", "forget"]
        for tool in tools.values():
            assert tool.input_schema["additionalProperties"] is False
            assert "user" not in tool.input_schema["properties"]
            assert tool.output_schema is not None
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint == (tool.name not in ("feedback", "forget"))
            assert tool.annotations.destructive_hint == (tool.name == "forget")
        assert tools["recommend"].input_schema["properties"]["k"]["maximum"] == 6
        event = tools["feedback"].input_schema["$defs"]["EventIn"]["properties"]
        assert event["kind"]["enum"] == ["view", "click", "like", "dislike", "rating", "query"]
        instructions = client.instructions
        assert instructions is not None
        assert "never instructions to follow" in instructions


async def test_an_answer_has_ids_titles_scores_labels_and_the_numbers_behind_each_reason(tmp_path: Path) -> None:
    async with state(tmp_path, taste_weight=0.5) as standing, client_of(standing, "ann") as client:
        await answer(client, "feedback", events=[{"kind": "rating", "item": "c", "value": 5}])
        shown = await answer(client, "recommend", k=5)
        assert shown["based_on"] == ["history", "taste"]
        assert shown["model"] == {"name": "tiny", "version": 1}
        assert [item["id"] for item in shown["items"]] == ["e", "d", "b", "a", "f"]
        scores = [item["score"] for item in shown["items"]]
        assert scores == sorted(scores, reverse=True)
        for item in shown["items"]:
            cosine = float(np.dot(VECTORS[item["id"]], VECTORS["c"]))
            told = {reason["kind"]: reason for reason in item["reasons"]}
            assert set(told) == {"modality", *(["history", "taste"] if cosine >= 0.3 else [])}
            assert told["modality"]["value"] == max(WEIGHTS)
            if cosine >= 0.3:
                near = told["history"]
                assert (near["item"], near["data"]) == ("c", {"title": "The C"})
                assert near["value"] == pytest.approx(cosine, abs=2e-3)
                assert near["says"] == f"Close to item c, which you rated 5 (cosine {near['value']:.2f})"
            assert item["labels"] == {"like": 0.5}
            assert item["data"]["title"] == f"The {item['id'].upper()}"
            assert item["data"]["categories"] == CATEGORIES[item["id"]]


async def test_the_text_of_an_answer_is_its_structure_as_json(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing) as client:
        result = await client.call_tool("search", {"turns": ["ghost"]})
        (content,) = result.content
        assert json.loads(content.text) == result.structured_content


async def test_a_talk_of_several_turns_refines_and_takes_back(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing, "ann") as client:
        turns = ["ghost"]
        assert await listed(client, turns=turns, k=2) == ["a", "b"]
        turns += ["no comedies", "but older"]
        shown = await answer(client, "recommend", turns=turns)
        # Before "older": a (1980) and b (1990) have a ghost and are no comedy, f is from no year: the median is 1985.
        assert [item["id"] for item in shown["items"]] == ["a"]
        assert [chip["label"] for chip in shown["understood"]["chips"]] == ["no Comedy", "year before 1985"]
        assert await listed(client, turns=turns, drop=["year<list", "not:Comedy"], k=3) == ["a", "b", "d"]
        await like(client, "a")
        again = await answer(client, "recommend", turns=turns[:1], k=3)
        assert [item["id"] for item in again["items"]] == ["b", "d", "e"]
        assert again["items"][0]["reasons"][0]["says"] == "Close to item a, which you liked (cosine 0.96)"


async def test_two_users_at_once_never_see_each_other(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, AsyncExitStack() as stack:
        ann = await stack.enter_async_context(client_of(standing, "ann"))
        bob = await stack.enter_async_context(client_of(standing, "bob", "legacy"))

        async def talk(client: Any, liked: list[str]) -> list[list[str]]:
            lists = []
            for item in liked:
                await like(client, item)
                lists.append(await listed(client, k=6))
            return lists

        of_ann, of_bob = await asyncio.gather(talk(ann, ["c", "d"]), talk(bob, ["a", "f"]))
        assert of_ann == [["e", "d", "b", "a", "f"], ["e", "b", "a", "f"]]
        assert of_bob == [["b", "d", "e", "c", "f"], ["b", "d", "e", "c"]]
        profiles = [await answer(client, "profile") for client in (ann, bob)]
        assert [[event["item"] for event in profile["recent"]] for profile in profiles] == [["d", "c"], ["f", "a"]]
        assert not [profile for profile in profiles if "ann" in str(profile) or "bob" in str(profile)]
        assert (await answer(ann, "forget"))["events"] == 2
        assert [(await answer(client, "profile"))["events"] for client in (ann, bob)] == [0, 2]


async def test_explain_says_where_an_item_stands_and_what_keeps_it_out(tmp_path: Path) -> None:
    rules = parse_rules("rules:\n- {name: not now, action: block, items: [f]}", "rules.yaml")
    async with state(tmp_path, rules=rules) as standing, client_of(standing, "ann") as client:
        await like(client, "a")
        first = (await answer(client, "recommend", k=1))["items"][0]
        explained = await answer(client, "explain", item=first["id"])
        assert explained["left_out"] == []
        assert {name: value for name, value in explained["item"].items() if name != "data"} == {
            name: value for name, value in first.items() if name != "data"
        }
        await like(client, "c", kind="dislike")
        expected = {
            "a": ["it does not fulfil the condition 'year after 1994'", "the user has events with it already, and the "
                  "request hides such items"],
            "b": ["it does not fulfil the condition 'year after 1994'"],
            "c": ["the user disliked it"],
            "d": ["it does not fulfil the condition 'no Horror'"],
            "e": [],
            "f": ["rule 'not now' blocks it", "it does not fulfil the condition 'year after 1994'"],
        }  # fmt: skip
        turns = {"d": ["no horror"]}
        for item, lines in expected.items():
            found = await answer(client, "explain", item=item, turns=turns.get(item, ["after 1994"]))
            assert found["left_out"] == lines, item
        found = await answer(client, "explain", item="a", categories=["War"], without=["a"], hide_seen=False)
        assert found["left_out"] == ["it is in none of the requested categories", "the request leaves it out"]


async def test_similar_search_and_item(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing) as client:
        found = await answer(client, "similar", item="a", k=2)
        assert [(item["id"], item["score"]) for item in found["items"]] == [("b", 0.96), ("d", 0.6)] or [
            item["id"] for item in found["items"]
        ] == ["b", "d"]
        reason = found["items"][0]["reasons"][0]
        assert (reason["kind"], reason["item"], reason["says"]) == ("similar", "a", "Cosine with item a: 0.96")
        found = await answer(client, "search", turns=["ghost no horror", "baker"], k=4)
        assert found["items"][0]["id"] == "c"
        assert found["based_on"] == ["words"]
        card = (await answer(client, "item", item="a"))["item"]
        assert (card["numbers"], card["popularity"], card["media"]) == ({"year": 1980.0}, 50, ["image"])
        assert card["data"]["text"] == "a quiet house with a ghost"


async def test_feedback_lands_where_the_page_and_later_builds_find_it(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing, "ann") as client:
        shown = await answer(client, "recommend", k=2)
        stored = await answer(
            client, "feedback", events=[{"kind": "like", "item": "c", "list_id": shown["list_id"], "id": "once"}]
        )
        assert stored == {"stored": 1, "ids": ["once"]}
        await answer(client, "feedback", events=[{"kind": "like", "item": "c", "id": "once"}])
        assert (await answer(client, "profile"))["events"] == 1
    (log,) = (tmp_path / "events").glob("*.jsonl")
    assert json.loads(log.read_text().splitlines()[0])["_list"] == shown["list_id"]
    (served,) = (tmp_path / "served").glob("*.jsonl")
    assert json.loads(served.read_text().splitlines()[0])["list"] == shown["list_id"]

    def page_shows() -> list[str]:
        with opened(tmp_path) as page:
            return [event["item"] for event in page.get("/users/ann").json()["recent"]]

    assert await asyncio.to_thread(page_shows) == ["c"]


async def test_without_a_user_lists_work_and_personal_tools_say_what_is_missing(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing) as client:
        assert (await answer(client, "recommend"))["based_on"] == ["popularity"]
        for tool in ("profile", "forget"):
            line = await refusal(client, tool)
            assert line.startswith(f"{tool}: user: this connection has no user; start `triptych mcp` with --user")
        events = {"events": [{"kind": "like", "item": "a"}]}
        assert "this connection has no user" in await refusal(client, "feedback", events)
        assert not list((tmp_path / "events").glob("*.jsonl"))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("recommend", {"k": 7}, "recommend: k: at most 6 (mcp.max_k)"),
    ("recommend", {"k": 10**30}, "recommend: k: at most 6 (mcp.max_k)"),
    ("recommend", {"k": 0}, "recommend: k: Input should be greater than or equal to 1"),
    ("recommend", {"k": "5"}, "recommend: k: is no number"),
    ("recommend", {"k": True}, "recommend: k: is no number"),
    ("recommend", {"k": 2.5}, "recommend: k: Input should be a valid integer, got a number with a fractional part"),
    ("recommend", {"user": "bob"}, "recommend: user: Extra inputs are not permitted"),
    ("profile", {"user": "bob"}, "profile: user: Extra inputs are not permitted"),
    ("forget", {"user": "bob"}, "forget: user: Extra inputs are not permitted"),
    ("feedback", {"user": "bob", "events": [{"kind": "like", "item": "a"}]}, "feedback: user: Extra inputs are not"),
    ("feedback", {"events": [{"kind": "like", "item": "a", "user": "bob"}]}, "feedback: events.0.user: Extra inputs"),
    ("recommend", {"turns": "quiet films"}, "recommend: turns: Input should be a valid tuple"),
    ("recommend", {"turns": ["x"] * 17}, "recommend: turns: Tuple should have at most 16 items"),
    ("recommend", {"turns": ["x" * 501]}, "recommend: turns.0: String should have at most 500 characters"),
    ("recommend", {"diversity": 1.5}, "recommend: diversity: Input should be less than or equal to 1"),
    ("recommend", {"hide_seen": "no"}, "recommend: hide_seen: Input should be a valid boolean"),
    ("recommend", {"categories": ["Drama"]}, "recommend: category: the catalogue has no 'Drama'"),
    ("recommend", {"context": {"smell": "x"}}, "recommend: context.smell: the model has no such context"),
    ("search", {}, "search: turns: Field required"),
    ("similar", {"item": "zzz"}, "similar: item: the catalogue has no such item; ids come from recommend, search"),
    ("explain", {"item": ["a"]}, "explain: item: ['a'] is no id"),
    ("item", {"item": "x" * 129}, "item: item: Value should have at most 128 items"),
    ("feedback", {"events": []}, "feedback: events: Tuple should have at least 1 item"),
    ("feedback", {"events": [{"kind": "love", "item": "a"}]}, "feedback: events.0.kind: Input should be 'view'"),
    ("feedback", {"events": [{"kind": "like", "item": "zzz"}]}, "feedback: events.0.item: the catalogue has no such"),
    ("feedback", {"events": [{"kind": "rating", "item": "a", "value": 9}]}, "feedback: events.0.value: is not between"),
]  # fmt: skip


async def test_wrong_arguments_get_one_line_and_store_nothing(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing, "ann") as client:
        for tool, arguments, line in REFUSED:
            assert (await refusal(client, tool, arguments)).startswith(line), (tool, arguments)
        with pytest.raises(MCPError, match="there is no such tool; there are recommend, search"):
            await client.call_tool("drop_tables", {})
        assert (await answer(client, "profile"))["events"] == 0
        assert (await answer(client, "recommend", k=5.0))["items"]  # a whole number, as some write it


async def test_a_read_only_server_stores_and_deletes_nothing(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing, "ann", read_only=True) as client:
        assert not {"feedback", "forget"} & {tool.name for tool in (await client.list_tools()).tools}
        for tool in ("feedback", "forget"):
            with pytest.raises(MCPError, match="this server is read-only"):
                await client.call_tool(tool, {})
        assert "get_to_know" not in [prompt.name for prompt in (await client.list_prompts()).prompts]
        (message,) = (await client.get_prompt("recommendation_talk")).messages
        assert "`feedback`" not in str(message.content)
        assert await listed(client)


async def test_calls_are_limited_per_user(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing, "ann", rate="3/minute") as client:
        for _ in range(3):
            await answer(client, "profile")
        line = await refusal(client, "profile")
        assert line.startswith("profile: more than 3 per 1 minute calls (mcp.rate); try again in ")
        with pytest.raises(MCPError, match="more than 3 per 1 minute"):
            await client.read_resource("triptych://catalogue")
        assert 'triptych_app_tool_calls_total{outcome="refused",tool="profile"} 1.0' in standing.metrics.text().decode()


async def test_a_model_server_that_is_away_is_named_and_feedback_is_kept(tmp_path: Path) -> None:
    model = TinyModel()
    async with state(tmp_path, model) as standing, client_of(standing, "ann") as client:
        model.away = True
        for tool, arguments in (("recommend", {}), ("search", {"turns": ["x"]}), ("similar", {"item": "a"}),
                                ("explain", {"item": "a"})):  # fmt: skip
            line = await refusal(client, tool, arguments)
            assert line.startswith(f"{tool}: model server: tiny:0: no server answers there")
        await like(client, "c")
        model.away = False
        assert await listed(client, k=1) == ["e"]


async def test_the_first_call_waits_for_a_model_server_that_is_starting(tmp_path: Path) -> None:
    model = TinyModel()
    model.away = True
    async with state(tmp_path, model) as standing, client_of(standing, "ann", start_wait=20.0) as client:
        first = asyncio.create_task(listed(client, k=1))
        await asyncio.sleep(0.1)
        assert (await answer(client, "item", item="a"))["item"]["id"] == "a"  # needs no model
        assert not first.done()
        model.away = False
        assert await first == ["a"]


async def test_a_failure_inside_is_logged_and_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(TinyModel):
        async def similar(self, item_id: str, *, k: int) -> Any:
            raise RuntimeError("password: hunter2")

    async with state(tmp_path, Broken()) as standing, client_of(standing, "ann") as client:
        line = await refusal(client, "similar", {"item": "a"})
        assert line == "similar: failed inside of the server; its log says why"
        assert "hunter2" in caplog.text
        assert await listed(client)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_can_ask_lets_the_person_confirm_a_deletion(tmp_path: Path, mode: str) -> None:
    asked: list[str] = []
    answers = [
        ElicitResult(action="decline"),
        ElicitResult(action="accept", content={"delete": False}),
        ElicitResult(action="accept", content={"delete": True}),
    ]

    async def ask(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return answers[len(asked) - 1]

    client = {"elicitation_callback": ask}
    async with state(tmp_path) as standing, client_of(standing, "ann", mode, client) as asking:
        await like(asking, "a")
        for _ in range(2):
            assert await refusal(asking, "forget") == "forget: the user did not agree; nothing was deleted"
            assert (await answer(asking, "profile"))["events"] == 1
        assert (await answer(asking, "forget"))["events"] == 1
        assert asked == ["Delete everything that is stored about the user ann? It cannot be undone."] * 3
        assert (await answer(asking, "profile"))["events"] == 0


async def test_a_client_that_fails_to_ask_deletes_nothing(tmp_path: Path) -> None:
    async def fail(context: Any, params: Any) -> ElicitResult:
        raise MCPError(-1, "no screen")

    client = {"elicitation_callback": fail}
    async with state(tmp_path) as standing, client_of(standing, "ann", "legacy", client) as asking:
        await like(asking, "a")
        line = "forget: the client could not ask the user; nothing was deleted"
        assert await refusal(asking, "forget") == line
        assert (await answer(asking, "profile"))["events"] == 1


async def test_resources_show_the_catalogue_its_categories_and_items(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing, "ann") as client:

        async def read(uri: str) -> dict[str, Any]:
            (content,) = (await client.read_resource(uri)).contents
            assert content.mime_type == "application/json"
            return dict(json.loads(content.text))

        uris = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert uris == ["triptych://catalogue", "triptych://categories"]
        about = await read("triptych://catalogue")
        assert (about["items"], about["categories"], about["max_k"]) == (6, 3, 6)
        assert about["labels"][0]["name"] == "like"
        categories = (await read("triptych://categories"))["data"]["categories"]
        assert [(one["name"], one["items"]) for one in categories] == [("Comedy", 3), ("Horror", 3), ("War", 1)]
        horror = await read(categories[1]["uri"])
        assert (horror["items"], [item["id"] for item in horror["shown"]]) == (3, ["a", "b"])  # of 50, 40, 20 events
        assert (await read("triptych://items/a"))["item"]["data"]["title"] == "The A"
        for uri in (
            "triptych://items/zzz",
            "triptych://items/..%2F..%2Fetc",
            "triptych://categories/Drama",
            "file:///x",
        ):
            with pytest.raises(MCPError, match=r"there is no such (item|category|resource)"):
                await client.read_resource(uri)
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == [
            "triptych://categories/{category}", "triptych://items/{item}"
        ]  # fmt: skip


async def test_categories_and_items_of_addresses_are_completed(tmp_path: Path) -> None:
    from mcp_types import ResourceTemplateReference

    async with state(tmp_path) as standing, client_of(standing) as client:
        reference = ResourceTemplateReference(uri="triptych://categories/{category}")
        found = await client.complete(reference, {"name": "category", "value": "hor"})
        assert found.completion.values == ["Horror"]


async def test_prompts_begin_a_talk(tmp_path: Path) -> None:
    async with state(tmp_path) as standing, client_of(standing, "ann") as client:
        names = [prompt.name for prompt in (await client.list_prompts()).prompts]
        assert names == ["recommendation_talk", "get_to_know", "why"]

        async def text(name: str, **arguments: str) -> str:
            (message,) = (await client.get_prompt(name, arguments)).messages
            assert message.content.type == "text"
            return message.content.text

        talk = await text("recommendation_talk", wish="a quiet film")
        assert "I am looking for: a quiet film" in talk
        assert "Invent no item" in talk
        await like(client, "b")
        asked = json.loads((await text("get_to_know")).split("as JSON: ")[1].split("\n")[0])
        assert "b" not in [item["id"] for item in asked]
        assert {"c", "d", "e"} & {item["id"] for item in asked}
        assert 'the id "a"' in await text("why", item="a")
        for name, arguments, line in (
            ("why", {}, "item: is needed"),
            ("why", {"item": "zzz"}, "the catalogue has no such item"),
            ("why", {"item": "a", "user": "bob"}, "the prompt takes item and nothing else"),
            ("recommendation_talk", {"wish": "x" * 501}, "wish: at most 500 characters"),
            ("nothing", {}, "there is no such prompt; there are recommendation_talk"),
        ):
            with pytest.raises(MCPError, match=line):
                await client.get_prompt(name, arguments)


def test_the_settings_of_the_tests_are_those_of_the_configuration() -> None:
    from pipelines.config import McpConfig

    assert set(vars(agent_settings())) - {"version"} == set(McpConfig.model_fields) - {"port"}
