"""Tables of measured figures, read from `benchmarks/results/`, so that a page cannot differ from the files."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
RESULTS = REPO / "benchmarks" / "results"
NOT_MEASURED = "Not measured yet."


def load(name: str) -> dict[str, Any]:
    """One result file."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def table(head: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def files() -> str:
    """Every result file with the command that made it and the commit that it was made at."""
    rows = []
    for path in sorted(RESULTS.glob("*.json")):
        command = load(path.stem)["command"]
        rows.append([f"`{path.name}`", f"`{command}`", _committed(path)])
    return table(["file", "command", "committed"], rows)


def baselines() -> str:
    """The first table: the three data sets beside the baselines of the report."""
    rows = []
    for name in ("demo", "ml100k", "lfm2k"):
        report = load(f"first-{name}")["report"]
        lists = report["baselines"]
        cells = [_pair(lists[key]) for key in ("random", "popularity", "item_knn", "item_knn_last20")]
        ceiling = _pair(report["oracle"]) if report.get("oracle") else "unknown"
        rows.append([name, *cells, f"**{_pair(report['model'])}**", ceiling])
    return table(["data", "random", "popularity", "item-kNN", "item-kNN, last 20", "Triptych", "ceiling"], rows)


def peers(name: str) -> str:
    """Triptych beside every tuned peer on one data set, all requests and the slices."""
    parts = []
    content = load(name)
    for part, values in content["slices"].items():
        if part == "warm" or values["queries"] < 100:
            continue
        measured = {peer: row.get("test", row) for peer, row in values["peers"].items()}
        order = sorted(measured, key=lambda peer: -measured[peer]["recall@20"])
        rows = []
        for peer in order:
            against = values["peers"][peer].get("ours_against_it")
            ratios = [_ratio(against[key]) for key in ("recall@20", "ndcg@20")] if against else ["", ""]
            rows.append([peer, *(f"{measured[peer][key]:.3f}" for key in ("recall@20", "ndcg@20")), *ratios])
        if "ours" in values:
            ours = values["ours"]
            rows.insert(0, ["**Triptych**", f"**{ours['recall@20']:.3f}**", f"**{ours['ndcg@20']:.3f}**", "", ""])
        title = {
            "all": "All requests",
            "cold": "Requests for items without training events, each model tuned for them",
        }[part]
        head = ["model", "Recall@20", "NDCG@20", "Triptych / peer, Recall@20", "Triptych / peer, NDCG@20"]
        parts.append(
            f"**{title}** ({values['queries']:,} requests of {values['users']:,} users)\n\n{table(head, rows)}"
            + _best_epochs(values["peers"])
        )
    return f"`{content['command']}`\n\nProtocol: {content['protocol']}.\n\n" + "\n\n".join(parts)


def _best_epochs(rows: dict[str, Any]) -> str:
    """A line on the peers that were trained to their best epoch; nothing where none was."""
    epochs = [
        f"{peer} {' and '.join(str(seed['best']) for seed in row['epochs'])} of {max(seed['trained'] for seed in row['epochs'])}"
        for peer, row in rows.items()
        if "epochs" in row
    ]
    return f"\n\nBest epoch on validation, of those trained: {', '.join(epochs)}." if epochs else ""


def ablation(data: str) -> str:
    """What each piece of the model gains on a data set."""
    rows = [
        [
            name,
            f"{row['valid_ndcg@20']['towers']:.4f}",
            f"{row['valid_ndcg@20']['hybrid']:.4f}",
            f"{row['towers']['recall@20']:.3f}",
            f"{row['hybrid']['recall@20']:.3f}",
        ]
        for name, row in load(f"ablation-{data}")["rows"].items()
    ]
    head = [
        "configuration",
        "validation NDCG@20, towers",
        "validation NDCG@20, hybrid",
        "test Recall@20, towers",
        "test Recall@20, hybrid",
    ]
    return table(head, rows)


def options_of_the_ablation(name: str) -> str:
    """Options that are off by default, with requests for items without training events apart; a head's own lists too."""
    rows = []
    for label, row in load(name)["rows"].items():
        parts = {label: ("towers", "hybrid")}
        if "generative" in row:
            parts[f"{label}, its own lists"] = ("generative",)
        for title, systems in parts.items():
            cells = [title]
            for measured, key, digits in (
                ("valid_ndcg@20", None, 4),
                (None, "recall@20", 3),
                (None, "new_recall@20", 3),
            ):
                values = [row[measured][part] if measured else row[part].get(key) for part in systems]
                cells.append(", ".join("-" if value is None else f"{value:.{digits}f}" for value in values))
            rows.append(cells)
    head = ["configuration", "validation NDCG@20: towers, hybrid", "test Recall@20", "of items without training events"]
    return table(head, rows)


def limits(name: str, key: str) -> str:
    """Measured values beside the limits that were aimed at."""
    rows = []
    for row in load(name)[key]:
        aim = f"{'≥' if row['at_least'] else '≤'} {row['limit']:g}"
        rows.append([row["name"], f"{row['value']:.4g}", aim, "yes" if row["holds"] else "**no**", row["facts"]])
    return table(["measure", "value", "aim", "reached", "facts"], rows)


def control() -> str:
    """Triptych and content kNN on true and on shuffled content."""
    rows = []
    for part, values in load("control-lfm2k-timbre")["slices"].items():
        for model in ("triptych", "content_knn"):
            row = values[model]["recall@20"]
            difference = f"{row['difference']:.3f} ({row['difference_low']:.3f} to {row['difference_high']:.3f})"
            rows.append(
                [part, f"{values['queries']:,}", model, f"{row['true']:.3f}", f"{row['shuffled']:.3f}", difference]
            )
    return table(["requests", "number", "model", "true content", "shuffled content", "difference (95 %)"], rows)


def text_queries() -> str:
    """Recall@10 of text search on held-out plot sentences."""
    rows, names = [], {}
    for encoder, file in (("from scratch", "text-queries-ml1m"), ("MiniLM, frozen", "text-queries-ml1m-minilm")):
        for form, values in load(file)["queries asked"].items():
            alone = values["without a common word"]
            for part, count, recall in (
                (form, load(file)["queries"], values["recall@10"]),
                (f"{form}, without a common word", alone["queries"], alone["recall@10"]),
            ):
                names = recall
                rows.append([encoder, part, f"{count:,}", *(f"{recall[key]:.3f}" for key in recall)])
    return table(["text encoder", "query", "number", *names], rows)


def event_weights() -> str:
    """What was bought and what was disliked among the first ten, by what the event types count."""
    rows = []
    for name, row in load("event-weights")["rows"].items():
        weights = ", ".join(f"{event} {weight:g}" for event, weight in row["weights"].items()) or "no `weight`"
        cells = [
            f"{row[f'{part}{event}_recall@10']:.3f}" for event in ("bought", "disliked") for part in ("towers_", "")
        ]
        rows.append([name, weights, *cells])
    head = ["reading", "weights", "bought, towers", "bought, whole score", "disliked, towers", "disliked, whole score"]
    return table(head, rows)


def item_item() -> str:
    """Item-item models on each data set, and the share of dense EASE's gain over item-kNN that the sparse one keeps."""
    rows = []
    for data, models in load("item-item")["quality"].items():
        for model, row in models.items():
            share = row.get("share_of_gain_ndcg@20")
            cells = [f"{row['recall@20']:.4f}", f"{row['ndcg@20']:.4f}", "" if share is None else f"{share:.2f}"]
            rows.append([data, model.replace("_", " "), *cells, row.get("seconds", "")])
    return table(["data", "model", "Recall@20", "NDCG@20", "share of EASE's gain, NDCG@20", "seconds of a fit"], rows)


def item_item_cost() -> str:
    """Time and memory of the item-item phases on a generated log, and of the hybrid score of a request."""
    result = load("item-item")
    cost, score = result["cost"], result["score"]
    rows = [
        [name, f"{row['seconds']:.1f} s", f"{row['peak_gigabytes_until_then']:.1f} GB"]
        for name, row in cost["phases"].items()
    ]
    for batch in (1, 32):
        for key, name in (
            ("towers", "towers' product with all items"),
            ("over_all_items", "hybrid score on top, every part over all items"),
            ("over_linked_items", "hybrid score on top, parts over linked items"),
        ):
            rows.append([f"{name}, {batch} requests", f"{score[f'milliseconds_{key}_batch{batch}']:.2f} ms", ""])
    sizes = f"{cost['items']:,} items, {cost['events']:,} events of {cost['users']:,} users"
    return f"`{result['command']}`: {sizes}\n\n" + table(["phase", "time", "peak memory until then"], rows)


def scale_step() -> str:
    """The time of a training step by the size of the catalogue and the softmax."""
    result = load("scale-step")
    rows = [
        [f"{row['items']:,}", row["softmax"].replace("_", "-"), f"{row['milliseconds']:.1f} ms", f"{row['ratio']:.2f}"]
        for row in result["rows"]
    ]
    events = result["events_a_step"]
    head = ["items", "softmax", f"step of {events} events", "times the smallest in-batch one"]
    return f"`{result['command']}`\n\n" + table(head, rows)


def levers() -> str:
    """Time and memory of a training step with each precision and memory lever."""
    result = load("levers")
    rows = [
        [
            row["step"],
            f"`{row['option']}={row['value']}`",
            f"{row['milliseconds']:.0f} ms",
            f"{row['time_ratio']:.2f}",
            f"{row['megabytes']:.0f} MB",
            f"{row['memory_ratio']:.2f}",
        ]
        for row in result["rows"]
    ]
    head = ["step", "option", "time", "ratio", "memory above that before", "ratio"]
    cpu = ", ".join(result["half_precision_of_the_cpu"]) or "none"
    return f"`{result['command']}`; instructions for half precision: {cpu}\n\n" + table(head, rows)


def accelerators() -> str:
    """What the TPU's compiler says of the training steps."""
    result = load("accelerators")
    rows = []
    for step in result["steps"]:
        size = step.get("megabytes")
        figures = [f"{size[key]:.1f}" for key in ("code", "arguments", "temporary")] if size else ["refused", "-", "-"]
        accessed = [f"{step['gigaflop']:.2f}", f"{step['megabytes_accessed']:.0f}"] if size else ["-", "-"]
        rows.append([step["name"], f"{step['trained_weights']:,}", str(step["loops"]), *figures, *accessed])
    head = ["step", "trained weights", "loops", "code, MB", "arguments, MB", "temporary, MB", "Gflop", "MB accessed"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"`{result['command']}`; {result['topology']}, {versions}\n\n" + table(head, rows)


def scale_evaluation() -> str:
    """Time and memory of ranking over large catalogues, and of the evaluation of a run."""
    result = load("scale-evaluation")
    rows = [
        [
            f"{row['items']:,} random embeddings, {row['requests']:,} requests",
            "blocks" if row["blocks"] else "whole rows of 512 requests",
            f"{row['seconds']:.1f} s",
            f"{row['megabytes']:,} MB",
            f"{row['megabytes_before']:,} MB",
        ]
        for row in result["rankings"]
    ]
    run = result["run"]
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in run["parts"].items())
    asked = f"`triptych evaluate`, {run['sample']['requests']:,} of {run['sample']['of']:,} requests"
    rows.append([f"{asked} ({parts})", "blocks", f"{run['seconds']:.0f} s", f"{run['megabytes']:,} MB", ""])
    head = ["what", "scores at a time", "time", "peak memory", "before ranking"]
    return f"`{result['command']}`\n\n" + table(head, rows)


def scale_memory() -> str:
    """Peak resident memory of training by the size of the catalogue, and the phases that need most."""
    result = load("scale-memory")
    rows = []
    for row in result["rows"]:
        largest = sorted(row["phases"].items(), key=lambda pair: -pair[1])[:3]
        phases = ", ".join(f"{name} {peak:.1f}" for name, peak in largest)
        before = row.get("baseline", {}).get("peak_gigabytes")
        changed = ", ".join(row["changed"]) or "-"
        own = [f"{row['peak_gigabytes']:.1f} GB", "-" if before is None else f"{before:.1f} GB"]
        rows.append([f"{row['items']:,}", f"{row['events']:,}", changed, *own, phases])
    head = ["items", "events", "options changed", "peak", "before", "phases that need most, GB"]
    return f"`{result['command']}`\n\n" + table(head, rows)


def scale_build() -> str:
    """Time and memory of builds of generated logs, and of the same builds by an earlier version."""
    rows = []
    for build in load("scale-build")["builds"]:
        for name, row in (("", build), ("before", build.get("baseline"))):
            if row is not None:
                keys = ("processor_seconds", "events_per_processor_second", "peak_megabytes")
                figures = [f"{row[key]:,}" for key in keys]
                rows.append([f"{row['events']:,}", build["format"], name, *figures])
    head = ["events", "format", "version", "processor time, s", "events per processor second", "peak memory, MB"]
    return table(head, rows)


def scale_throughput() -> str:
    """Training events a second beside SASRec of RecTools."""
    result = load("scale-throughput")
    rows = []
    for row in result["measured"]:
        ours, peer = row["ours"], row["sasrec"]
        cells = [f"{side['targets_per_second']:,}" for side in (ours, peer)]
        steps = [f"{side['milliseconds_a_step']:.1f} ms of {side['targets_a_step']}" for side in (ours, peer)]
        reached = "yes" if row["holds"] else "**no**"
        rows.append([row["data"], row["loss"], *cells, f"{row['ratio']:.2f}", reached, *steps])
    shape = (
        f"width {result['width']}, {result['layers']} layers, {result['heads']} heads, {result['length']} positions, "
        f"{result['negatives']} uniform negatives where sampled, {result['dtype']}, {result['threads']} threads; median of "
        f"{result['rounds']} rounds in turns"
    )
    head = ["data", "softmax", "Triptych", "SASRec", "ratio", f"≥ {result['target']}", "our step", "its step"]
    return f"`{result['command']}`: {shape}\n\n" + table(head, rows)


def scale_softmax() -> str:
    """Quality of the sampled softmax against the full one, on each data set that was measured."""
    rows = []
    for path in sorted(RESULTS.glob("scale-softmax-*.json")):
        result = load(path.stem)
        for split in ("valid", "test"):
            for metric, values in result[split].items():
                cells = [f"{values[softmax]:.4f}" for softmax in ("full", "in_batch")]
                ratio = _ratio(values["sampled_against_full"])
                data, negatives = re.findall(r"DIR/(\S+)|--negatives (\d+)", result["command"] + " --negatives 256")[:2]
                rows.append([data[0], negatives[1], result["epochs"], split, metric, *cells, ratio])
    head = ["data", "uniform negatives", "epochs", "split", "metric", "full", "sampled", "sampled / full (95 %)"]
    return table(head, rows)


def precision() -> str:
    """What a precision does to quality, on each data set that was measured."""
    rows = []
    for path in sorted(RESULTS.glob("precision-*.json")):
        for name, values in load(path.stem)["runs"].items():
            means = [sum(values[metric]) / len(values[metric]) for metric in ("ndcg@10", "ndcg@20", "recall@20")]
            cells = [f"{value:.4f}" for value in means]
            rows.append([path.stem.partition("-")[2], name, len(values["ndcg@10"]), *cells])
    return table(["data", "precision", "seeds", "NDCG@10", "NDCG@20", "Recall@20"], rows)


def scale_full_run() -> str:
    """Time and memory of each phase of a whole run, and the quality beside the baselines."""
    result = load("scale-full-run")
    phases = [
        [name, f"{row['seconds'] / 60:.1f} min", f"{row['peak_gigabytes']:.1f} GB" if "peak_gigabytes" in row else ""]
        for name, row in result["phases"].items()
    ]
    bars = result["bars"]
    total = f"{bars['minutes']:.0f} minutes without generating and iALS; the aim is {bars['minutes_target']:.0f}."
    order = sorted(result["quality"].items(), key=lambda pair: -pair[1]["recall@20"])
    quality = [[name.replace("_", " "), f"{row['recall@20']:.4f}", f"{row['ndcg@20']:.4f}"] for name, row in order]
    head = f"`{result['command']}`\n\n"
    return (
        head
        + table(["phase", "time", "peak memory"], phases)
        + f"\n\n{total}\n\n"
        + table(["model", "Recall@20", "NDCG@20"], quality)
    )


def where_measured(pattern: str, make: Callable[[], str]) -> Callable[[], str]:
    """A table whose result files need not be there yet; it then says that it was not measured."""
    return lambda: make() if any(RESULTS.glob(pattern)) else NOT_MEASURED


def _pair(metrics: dict[str, float]) -> str:
    return f"{metrics['recall@20']:.3f} / {metrics['ndcg@10']:.3f}"


def serving_index() -> str:
    """The best 100 of a million items by each dtype of the scanned table."""
    rows = []
    for part in load("serving-index")["top_k"]:
        for dtype, ratio in part["over_reading"].items():
            again = part["searched_again_in_float32"][dtype]
            rows.append([
                f"{part['embeddings']}, {part['rows']}", dtype, f"{part['scanned_megabytes'][dtype]:.0f}",
                part["ms"][dtype], f"{part['fastest_ms'][dtype]}", part["ms"]["read_the_table"], f"{ratio:.2f}",
                f"{part['recall'][dtype]:.4f}", f"{again:.0%}",
            ])  # fmt: skip
    head = ["embeddings, queries", "table", "MB", "ms", "fastest", "reading float32, ms", "ratio", "recall@100"]
    return table([*head, "searched again"], rows)


def _ratio(row: dict[str, float | None]) -> str:
    if row["ratio"] is None:
        return "-"  # it finds nothing
    if row["ratio_high"] is None:
        return f"{row['ratio']:.2f}"
    return f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"


def _committed(path: Path) -> str:
    """Short commit and day at which a file last changed; a dash where there is no git history."""
    command = ["git", "log", "-1", "--format=%h, %as", "--", str(path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "-"


TABLES: dict[str, Callable[[], str]] = {
    "result-files": files,
    "baselines": baselines,
    "peers-ml100k": lambda: peers("quality-ml100k"),
    "peers-ml100k-sasrec": lambda: peers("quality-ml100k-peers"),
    "peers-ml100k-cold": lambda: peers("quality-ml100k-cold0.1"),
    "peers-ml1m": lambda: peers("quality-ml1m"),
    "peers-tiktok": lambda: peers("quality-tiktok"),
    "peers-lfm2k": lambda: peers("quality-lfm2k"),
    "ablation-ml100k": lambda: ablation("ml100k"),
    "ablation-lfm2k": lambda: ablation("lfm2k"),
    "ablation-ml100k-semantic": where_measured(
        "ablation-ml100k-semantic.json", lambda: options_of_the_ablation("ablation-ml100k-semantic")
    ),
    "ablation-ml100k-cold": where_measured(
        "ablation-ml100k-cold0.1.json", lambda: options_of_the_ablation("ablation-ml100k-cold0.1")
    ),
    "control": control,
    "text-queries": text_queries,
    "event-weights": event_weights,
    "scale-step": scale_step,
    "scale-throughput": where_measured("scale-throughput.json", scale_throughput),
    "scale-softmax": where_measured("scale-softmax-*.json", scale_softmax),
    "scale-full-run": where_measured("scale-full-run.json", scale_full_run),
    "scale-evaluation": scale_evaluation,
    "scale-memory": scale_memory,
    "item-item": item_item,
    "item-item-cost": item_item_cost,
    "serving": lambda: limits("serving", "results"),
    "serving-index": serving_index,
    "bulk-lists": where_measured("bulk-lists.json", lambda: limits("bulk-lists", "results")),
    "soak": lambda: limits("serving-soak", "results"),
    "input": lambda: limits("input", "ratios"),
    "scale-build": scale_build,
    "levers": where_measured("levers.json", levers),
    "precision": where_measured("precision-*.json", precision),
    "accelerators": where_measured("accelerators.json", accelerators),
    "encoders": lambda: limits("encoders", "rows"),
}
