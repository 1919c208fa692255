"""What the pages name exists: commands, flags, options, files, modules, links. Nothing is run."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml
from markdown_pages import REPO, Block, blocks, code_spans, pages, shell_lines
from pydantic import BaseModel

from pipelines.cli import COMMANDS, main
from pipelines.config import Config
from tfrecs.spec.models import DatasetSpec

ROOMS = ("tfrecs", "towers", "serving", "pipelines", "benchmarks", "tests", "docs", "examples")
PAGES = {str(page.relative_to(REPO)): page for page in pages()}
BLOCKS = blocks()
PYTHON = [block for block in BLOCKS if block.language == "python"]
# TensorFlow Serving's and pip's own, and those of other programs in examples.
FOREIGN_FLAGS = {"--grpc_max_threads", "--tensorflow_session_parallelism", "--logdir", "--all"}
FILE_ENDINGS = (".json", ".jsonl", ".yaml", ".md", ".npz", ".npy", ".py", ".png", ".svg", ".txt", ".config", ".pb")


def option_names(command: str) -> set[str]:
    found = main.get_command(click.Context(main), command)
    assert found is not None, f"no command {command}"
    return {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def commands_in(page: str) -> list[str]:
    """Shell lines and inline code of a page that call something."""
    lines = [
        line for block in BLOCKS if block.page == page and block.language == "sh" for line in shell_lines(block.text)
    ]
    return lines + code_spans(PAGES[page])


def config_has(path: str) -> bool:
    model: type[BaseModel] | None = Config
    for key in path.split("."):
        if model is None:
            return True  # within a mapping, whose keys are free
        if key not in model.model_fields:
            return False
        annotation = model.model_fields[key].annotation
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return True


def words_of(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def benchmark_source(module: str) -> str:
    """The source of a module, or of all modules of a package that is run."""
    spec = importlib.util.find_spec(module)
    origin = spec.origin if spec is not None else None
    assert origin is not None, f"no module {module}"
    path = Path(origin)
    files = path.parent.glob("*.py") if path.name == "__init__.py" else [path]
    return "".join(file.read_text(encoding="utf-8") for file in files)


def test_the_readme_is_one_page() -> None:
    assert len((REPO / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_flags_exist(page: str) -> None:
    wrong = []
    for line in commands_in(page):
        words = words_of(line)
        starts = [i for i, word in enumerate(words) if word == "triptych" or word.endswith("/triptych")]
        for start in starts:
            if start + 1 == len(words) or not re.fullmatch(r"[a-z]+", words[start + 1]):
                continue
            command, rest = words[start + 1], words[start + 2 :]
            if command not in COMMANDS:
                wrong.append(f"{line}: no command {command}")
                continue
            rest = rest[: rest.index("--")] if "--" in rest else rest
            flags = {re.split(r"[=\]]", word.lstrip("["))[0] for word in rest if re.match(r"\[?--\w", word)}
            wrong += [f"{line}: {command} has no {flag}" for flag in sorted(flags - option_names(command))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_flags_named_alone_belong_to_a_command(page: str) -> None:
    known = FOREIGN_FLAGS.union(*(option_names(command) for command in COMMANDS))
    flags = {
        flag for span in code_spans(PAGES[page]) if span.startswith("--") for flag in re.findall(r"--\w[\w-]*", span)
    }
    if page == "docs/benchmarks.md" or "benchmark" in page:
        return
    assert not flags - known


@pytest.mark.parametrize("page", PAGES)
def test_options_exist(page: str) -> None:
    named = set()
    for line in commands_in(page):
        words = words_of(line)
        named |= {words[i + 1].partition("=")[0] for i, word in enumerate(words[:-1]) if word == "--set"}
    for span in code_spans(PAGES[page]):
        path = span.partition("=")[0]
        if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", path) and path.split(".")[0] in Config.model_fields:
            named |= set() if path.endswith(FILE_ENDINGS) else {path}
    named -= {"section.key"}
    assert not {path for path in named if not config_has(path)}


@pytest.mark.parametrize("page", PAGES)
def test_files_and_modules_exist(page: str) -> None:
    missing = []
    for span in code_spans(PAGES[page]):
        if re.fullmatch(rf"({'|'.join(ROOMS)})/[\w./-]*", span) and not (REPO / span).exists():
            missing.append(span)
        if re.fullmatch(r"(tfrecs|towers|serving|pipelines|benchmarks)(\.\w+)+", span) and not resolves(span):
            missing.append(span)
    assert not missing


def resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for size in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        for part in parts[size:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_modules_that_are_run_exist(page: str) -> None:
    for line in commands_in(page):
        words = words_of(line)
        for i in range(len(words) - 2):
            if words[i].endswith("python") and words[i + 1] == "-m" and words[i + 2].split(".")[0] in ROOMS:
                if words[i + 2] == "pipelines.COMMAND":
                    continue
                source = benchmark_source(words[i + 2])
                flags = {re.split(r"[=\]]", word)[0] for word in words[i + 3 :] if word.startswith("--")}
                assert not {flag for flag in flags if flag not in source}, line


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {match[1] for line in commands_in(page) if (match := re.match(r"make ([a-z-]+)", line))}
    assert not named - targets


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'^--8<-- "(.+)"$', text, re.MULTILINE)
    included = set(re.findall(r'^--8<-- "(.+)"$', text, re.MULTILINE))
    broken = [
        link
        for link in links
        if not re.match(r"https?:", link) and not ((REPO if link in included else PAGES[page].parent) / link).exists()
    ]
    assert not broken


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles_and_imports_what_there_is(block: Block) -> None:
    tree = ast.parse(block.text, filename=str(block))
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), str(block), "exec"), {})


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=str)
def test_yaml_is_valid(block: Block) -> None:
    content = yaml.safe_load(block.text)
    if "interactions" in content:
        DatasetSpec.model_validate(content)
    assert not {key for key in content if "." in key and not config_has(key)}


def test_every_message_of_the_troubleshooting_page_is_in_the_code() -> None:
    source = "".join(path.read_text(encoding="utf-8") for room in ROOMS[:4] for path in (REPO / room).rglob("*.py"))
    source += (REPO / "Makefile").read_text(encoding="utf-8")
    text = PAGES["docs/troubleshooting.md"].read_text(encoding="utf-8")
    headlines = [
        line for line, after in zip(text.splitlines(), text.splitlines()[1:], strict=False) if after.startswith(":   ")
    ]
    messages = [message for line in headlines for message in re.findall(r"`([^`]+)`", line)]
    assert len(messages) > 8
    assert not [message for message in messages if message not in source and not message.startswith("Op type")]


def test_the_navigation_has_every_page() -> None:
    text = (REPO / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/]+\.md$", text, re.MULTILINE))
    assert named == {str(page.relative_to(REPO / "docs")) for page in (REPO / "docs").rglob("*.md")}
