"""Draws the figures of the documentation as SVG: `python docs/scripts/figures.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "img"

INK, SOFT, LINE = "#1f2937", "#6b7280", "#94a3b8"
COLOURS = {  # fill, stroke
    "data": ("#fef3c7", "#d97706"),
    "step": ("#e0e7ff", "#4f46e5"),
    "file": ("#f1f5f9", "#64748b"),
    "model": ("#dcfce7", "#16a34a"),
    "count": ("#fce7f3", "#db2777"),
    "plain": ("#ffffff", "#cbd5e1"),
}
STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2937; }
.title { font-size: 15px; font-weight: 600; }
.line { font-size: 12px; }
.note { font-size: 12px; fill: #6b7280; }
.heading { font-size: 13px; font-weight: 600; fill: #475569; letter-spacing: .04em; }
"""


@dataclass
class Box:
    """A rounded box with a title and lines below it."""

    x: float
    y: float
    width: float
    height: float
    title: str
    lines: tuple[str, ...] = ()
    colour: str = "plain"

    def side(self, name: str, share: float = 0.5) -> tuple[float, float]:
        """A point on an edge, `share` of the way along it."""
        return {
            "left": (self.x, self.y + share * self.height),
            "right": (self.x + self.width, self.y + share * self.height),
            "top": (self.x + share * self.width, self.y),
            "bottom": (self.x + share * self.width, self.y + self.height),
        }[name]


@dataclass
class Figure:
    """An SVG under construction."""

    width: int
    height: int
    label: str
    parts: list[str] = field(default_factory=list)

    def box(
        self, x: float, y: float, width: float, height: float, title: str, *lines: str, colour: str = "plain"
    ) -> Box:
        """Draw a box and return it."""
        fill, stroke = COLOURS[colour]
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'
        )
        middle = x + width / 2
        top = y + height / 2 - 16 * len(lines) / 2 + 5
        self.text(middle, top, title, "title")
        for number, line in enumerate(lines):
            self.text(middle, top + 17 + 16 * number, line, "line")
        return Box(x, y, width, height, title, lines, colour)

    def text(self, x: float, y: float, text: str, kind: str = "note", anchor: str = "middle") -> None:
        """Draw one line of text."""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')

    def panel(self, x: float, y: float, width: float, height: float, heading: str) -> None:
        """Draw a dashed frame with a heading."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="14" fill="#f8fafc" stroke="#cbd5e1" stroke-dasharray="5 4"/>'
        )
        self.text(x + 16, y + 24, heading, "heading", "start")

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """Draw straight lines through the points, with a head at the last one."""
        path = " ".join(f"{'M' if i == 0 else 'L'}{x:g},{y:g}" for i, (x, y) in enumerate(points))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{SOFT}" stroke-width="1.6" marker-end="url(#head)"{dash}/>'
        )

    def svg(self) -> str:
        """The finished document."""
        head = (
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L10,5 L0,10 z" fill="{SOFT}"/></marker></defs>'
        )
        frame = f'<rect x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="12" fill="#ffffff" stroke="#e2e8f0"/>'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.label)}">',
                f"<style>{STYLE}</style>",
                head,
                frame,
                *self.parts,
                "</svg>",
                "",
            ]
        )


def data_flow() -> Figure:
    """From tables and media to answers: the commands, and what each of them leaves on disk."""
    figure = Figure(1080, 372, "The way of the data through Triptych")
    x, media, gap = 26, 136, 12
    for number, (title, line) in enumerate(
        [("text", "title, plot"), ("image", "jpg png webp"), ("audio", "wav mp3 flac ogg")]
    ):
        figure.box(x, 56 + number * (52 + gap), media, 52, title, line, colour="data")
    events = figure.box(x, 56 + 3 * (52 + gap), media, 52, "interactions", "csv tsv jsonl parquet", colour="data")
    figure.text(x + media / 2, 40, "YOUR FOLDER", "heading")

    step_y, file_y = 96, 206
    columns = [196, 372, 548, 724]
    width = 150
    names = [
        ("build", "dataset.yaml", "records", ("TFRecord shards", "manifest.json")),
        ("train", "towers, hybrid score", "run folder", ("checkpoints, curves", "config.yaml")),
        ("evaluate", "full ranking", "report", ("report.md, plots", "report.json")),
        ("export", "gate: parity, op list", "SavedModel", ("saved_models/NAME/1", "index, signatures")),
    ]
    steps, files = [], []
    for left, (command, line, file, contents) in zip(columns, names, strict=True):
        steps.append(figure.box(left, step_y, width, 58, command, line, colour="step"))
        files.append(figure.box(left, file_y, width, 76, file, *contents, colour="file"))
        figure.arrow(steps[-1].side("bottom"), files[-1].side("top"))
    figure.text(
        (columns[0] + columns[-1] + width) / 2, 40, "TRIPTYCH COMMANDS, AND WHAT EACH LEAVES ON DISK", "heading"
    )
    left, right = x + media + 8, columns[0]
    bracket = left + 9
    top, bottom = 82, events.y + 26
    figure.parts.append(
        f'<path d="M{left},{top} L{bracket},{top} L{bracket},{bottom} L{left},{bottom}" fill="none" stroke="{SOFT}" stroke-width="1.6"/>'
    )
    figure.arrow((bracket, step_y + 29), (right, step_y + 29))
    for before, after in zip(files[:2], steps[1:3], strict=True):
        middle = before.x + before.width + 13
        figure.arrow(
            before.side("right"), (middle, before.side("right")[1]), (middle, after.side("left")[1]), after.side("left")
        )
    # The run folder is what both evaluate and export read.
    export = steps[3]
    low = file_y + 76 + 26
    figure.arrow(
        files[1].side("bottom"),
        (files[1].side("bottom")[0], low),
        (columns[3] - 13, low),
        (columns[3] - 13, export.side("left")[1]),
        export.side("left"),
    )

    hosts = 904
    serving = figure.box(hosts, 84, 152, 70, "serve", "or TensorFlow Serving", "gRPC and REST", colour="model")
    figure.arrow(
        files[3].side("right"), (889, files[3].side("right")[1]), (889, serving.side("left")[1]), serving.side("left")
    )
    app = figure.box(hosts, 196, 152, 52, "app", "profiles, reasons", colour="model")
    clients = figure.box(hosts, 272, 152, 52, "clients", "query, Python, curl", colour="model")
    figure.text(hosts + 76, 40, "ANSWERS", "heading")
    figure.arrow(serving.side("bottom"), app.side("top"))
    figure.arrow(
        serving.side("right", 0.6),
        (1068, serving.side("right", 0.6)[1]),
        (1068, clients.side("right")[1]),
        clients.side("right"),
    )
    figure.text(
        560,
        352,
        "recommend · rank · search · similar · embed_items: history, words or raw media in; ranked item ids with reasons out",
        "note",
    )
    return figure


def architecture() -> Figure:
    """The model as it is exported."""
    figure = Figure(1080, 660, "The model: two towers, the hybrid score, text search and the ranking head")
    figure.panel(22, 20, 470, 344, "ITEM TOWER, once for each item")
    encoders = []
    for number, (title, line) in enumerate(
        [
            ("text", "BERT, mean pooling"),
            ("image", "residual convolutions"),
            ("audio", "log-mel, convolutions"),
            ("vector, ...", "perceptron"),
        ]
    ):
        encoders.append(figure.box(42, 60 + number * 62, 150, 48, title, line, colour="data"))
    fusion = figure.box(228, 116, 122, 76, "fusion", "attention over", "what is present", colour="step")
    for number, encoder in enumerate(encoders):
        figure.arrow(
            encoder.side("right"),
            (212, encoder.side("right")[1]),
            (212, fusion.side("left", 0.2 + 0.2 * number)[1]),
            fusion.side("left", 0.2 + 0.2 * number),
        )
    ids = figure.box(228, 246, 122, 62, "id embedding", "hidden at random", colour="step")
    items = figure.box(378, 134, 98, 118, "candidate", "embeddings", "[N, D]", colour="model")
    figure.arrow(
        fusion.side("right"),
        (364, fusion.side("right")[1]),
        (364, items.side("left", 0.35)[1]),
        items.side("left", 0.35),
    )
    figure.arrow(
        ids.side("right"), (364, ids.side("right")[1]), (364, items.side("left", 0.7)[1]), items.side("left", 0.7)
    )
    figure.text(257, 346, "new items: content, plus the id embedding that content predicts", "note")

    figure.panel(22, 384, 470, 256, "USER TOWER, once for each request")
    tokens = []
    for number, (title, line) in enumerate(
        [("history", "item, value, time gap"), ("context", "hour, weekday, device"), ("text query", "query encoder")]
    ):
        tokens.append(figure.box(42, 424 + number * 66, 150, 52, title, line, colour="data"))
    transformer = figure.box(228, 464, 122, 92, "causal", "Transformer", "distance and", "time biases", colour="step")
    for number, token in enumerate(tokens):
        share = 0.25 + 0.25 * number
        figure.arrow(
            token.side("right"),
            (212, token.side("right")[1]),
            (212, transformer.side("left", share)[1]),
            transformer.side("left", share),
        )
    query = figure.box(378, 474, 98, 72, "query", "embedding", "[B, D]", colour="model")
    figure.arrow(transformer.side("right"), query.side("left"))

    figure.panel(518, 20, 326, 620, "SCORES, [B, N]")
    towers = figure.box(540, 64, 280, 66, "towers", "inner product over the temperature", colour="model")
    figure.arrow(
        items.side("right"),
        (498, items.side("right")[1]),
        (498, towers.side("left", 0.35)[1]),
        towers.side("left", 0.35),
    )
    figure.arrow(
        query.side("right"), (508, query.side("right")[1]), (508, towers.side("left", 0.7)[1]), towers.side("left", 0.7)
    )
    item_item = figure.box(
        540,
        186,
        280,
        116,
        "item-item model",
        "linear weights (EASE), over the history",
        "the same over its newest items",
        "what followed the newest items; popularity",
        "new items: content borrows these",
        colour="count",
    )
    hybrid = figure.box(540, 366, 280, 66, "hybrid score", "sum with weights learned on validation", colour="step")
    figure.arrow(
        towers.side("right"),
        (832, towers.side("right")[1]),
        (832, hybrid.side("right", 0.3)[1]),
        hybrid.side("right", 0.3),
    )
    figure.arrow(item_item.side("bottom"), hybrid.side("top"))
    lexical = figure.box(
        540,
        500,
        280,
        84,
        "text search",
        "inverted index inside the model:",
        "words, prefixes, runs of letters",
        colour="count",
    )
    figure.text(680, 610, "only where the request has a text query", "note")

    total = figure.box(880, 380, 174, 62, "top k", "filters, exclusions, MMR", colour="step")
    figure.arrow(hybrid.side("right", 0.7), total.side("left", 0.52))
    figure.arrow(
        lexical.side("right"),
        (862, lexical.side("right")[1]),
        (862, total.side("left", 0.8)[1]),
        total.side("left", 0.8),
    )
    ranking = figure.box(
        880, 230, 174, 80, "ranking head", "DCN-v2 on query and item", "one output per label", colour="model"
    )
    figure.arrow(total.side("top"), ranking.side("bottom"))
    answer = figure.box(880, 504, 174, 76, "answer", "ids, scores, labels,", "reasons, modality weights", colour="file")
    figure.arrow(total.side("bottom"), answer.side("top"))
    figure.arrow(
        ranking.side("right", 0.7),
        (1066, ranking.side("right", 0.7)[1]),
        (1066, answer.side("right")[1]),
        answer.side("right"),
    )
    return figure


FIGURES = {"data-flow.svg": data_flow, "architecture.svg": architecture}


def main() -> None:
    """Write every figure."""
    IMAGES.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        (IMAGES / name).write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
