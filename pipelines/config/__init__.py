"""The configuration with every default of Triptych.

A configuration is read from a YAML file (`--config`), changed by `--set section.key=value`, validated once, and
frozen. Encoder sections carry the name of their kind in the table of modalities.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.config.learning import (
    CooccurrenceConfig,
    EvaluateConfig,
    HybridConfig,
    PretrainConfig,
    TrainConfig,
    TuneConfig,
)
from pipelines.config.renamed import current_name, with_current_names
from pipelines.config.running import (
    AppConfig,
    BatchingConfig,
    BuildConfig,
    DemoConfig,
    ExportConfig,
    InspectConfig,
    LimitsConfig,
    McpConfig,
    MonitorConfig,
    RecommendConfig,
    ServeConfig,
)
from pipelines.config.towers import (
    AudioConfig,
    CategoriesConfig,
    GenerativeConfig,
    ImageConfig,
    ItemConfig,
    NumberConfig,
    RankingConfig,
    RetrievalConfig,
    SearchConfig,
    TextConfig,
    UserConfig,
    VectorConfig,
)
from tfrecs.errors import SpecError
from tfrecs.modalities import kinds

__all__ = [
    "AppConfig",
    "AudioConfig",
    "BatchingConfig",
    "BuildConfig",
    "CategoriesConfig",
    "Config",
    "CooccurrenceConfig",
    "DemoConfig",
    "EvaluateConfig",
    "ExportConfig",
    "GenerativeConfig",
    "HybridConfig",
    "ImageConfig",
    "InspectConfig",
    "ItemConfig",
    "LimitsConfig",
    "McpConfig",
    "MonitorConfig",
    "NumberConfig",
    "PretrainConfig",
    "RankingConfig",
    "RecommendConfig",
    "RetrievalConfig",
    "SearchConfig",
    "ServeConfig",
    "TextConfig",
    "TrainConfig",
    "TuneConfig",
    "UserConfig",
    "VectorConfig",
    "load_config",
    "validate",
]


class Config(BaseModel):
    """Everything that can be set. A feature kind without a section of its own takes a free mapping.

    Attributes:
      seed: of the split, of initial weights and of the order of training.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    seed: int = 0
    build: BuildConfig = BuildConfig()
    text: TextConfig = TextConfig()
    image: ImageConfig = ImageConfig()
    audio: AudioConfig = AudioConfig()
    vector: VectorConfig = VectorConfig()
    categories: CategoriesConfig = CategoriesConfig()
    number: NumberConfig = NumberConfig()
    item: ItemConfig = ItemConfig()
    user: UserConfig = UserConfig()
    ranking: RankingConfig = RankingConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    generative: GenerativeConfig = GenerativeConfig()
    search: SearchConfig = SearchConfig()
    cooccurrence: CooccurrenceConfig = CooccurrenceConfig()
    pretrain: PretrainConfig = PretrainConfig()
    train: TrainConfig = TrainConfig()
    hybrid: HybridConfig = HybridConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()
    serve: ServeConfig = ServeConfig()
    recommend: RecommendConfig = RecommendConfig()
    tune: TuneConfig = TuneConfig()
    demo: DemoConfig = DemoConfig()
    inspect: InspectConfig = InspectConfig()
    app: AppConfig = AppConfig()
    mcp: McpConfig = McpConfig()
    monitor: MonitorConfig = MonitorConfig()

    def encoder_options(self, kind: str) -> dict[str, Any]:
        """Return the constructor options of the encoder of a feature kind."""
        section = getattr(self, kind, {})
        return section.model_dump() if isinstance(section, BaseModel) else dict(section)

    def to_yaml(self) -> str:
        """Write the configuration as YAML that `load_config` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(file: Path | None = None, changes: Sequence[str] = ()) -> Config:
    """Make a configuration of the defaults, then a file, then changes.

    Args:
      file: a YAML file of sections; None: none.
      changes: `section.key=value` each, in this order; values are YAML.

    Raises:
      SpecError: one line that names the file or change, the key, and what there is.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = yaml.safe_load(Path(file).read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise SpecError(f"{file}: cannot read the configuration ({str(error).splitlines()[0]})") from error
        if not isinstance(values, dict):
            raise SpecError(f"{file}: a configuration is a mapping of sections")
        values = with_current_names(values, str(file))
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise SpecError(f"--set {change}: write it as section.key=value")
        *sections, key = current_name(path).split(".")
        target = values
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise SpecError(f"--set {change}: {section} is a value, not a section")
        try:
            target[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SpecError(f"--set {change}: the value is not YAML") from error
    return validate(values, str(file) if file else "--set")


def validate(values: dict[str, Any], source: str) -> Config:
    """Make a configuration of plain values. Raises SpecError that names `source`."""
    values = with_current_names(values, source)
    known = (*Config.model_fields, *kinds())
    for name in values:
        if name not in known:
            raise SpecError(f"{source}: no section {name!r}; {_nearest(name, known)}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            section = getattr(Config(), str(first["loc"][0]))
            raise SpecError(
                f"{source}: no option {path}; {_nearest(str(first['loc'][-1]), type(section).model_fields)}"
            ) from error
        raise SpecError(f"{source}: {path}: {first['msg']}") from error


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
