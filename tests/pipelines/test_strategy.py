"""Which distribution strategy `auto` takes on which machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from pipelines.model import strategy
from tfrecs.errors import SpecError


def plug_in(bus: Path, *devices: tuple[str, str]) -> Path:
    for number, (vendor, device) in enumerate(devices):
        folder = bus / f"0000:00:{number:02}.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "device").write_text(f"{device}\n")
    return bus


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TPU_NAME", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(strategy, "_PCI", tmp_path / "devices")
    return tmp_path / "devices"


def test_tpu_chips_are_counted_and_other_devices_of_google_are_not(bus: Path) -> None:
    assert strategy.local_tpus() == 0
    plug_in(bus, ("0x1ae0", "0x0063"), ("0x1ae0", "0x0042"), ("0x10de", "0x0063"), ("0x1ae0", "0x006f"))
    assert strategy.local_tpus() == 2


def test_auto_takes_a_local_tpu_without_tpu_name(bus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(bus, ("0x1ae0", "0x0063"))
    monkeypatch.setattr(strategy, "find_spec", lambda name: object())
    assert strategy._detect() == "tpu"


def test_a_tpu_that_tensorflow_cannot_use_is_said_and_auto_goes_on(
    bus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plug_in(bus, ("0x1ae0", "0x0063"))
    monkeypatch.setattr(strategy, "find_spec", lambda name: None)
    assert strategy._detect() == "cpu"
    assert "has a TPU, which TensorFlow cannot use without tensorflow-tpu" in " ".join(capsys.readouterr().out.split())


def test_what_the_environment_names_comes_first(bus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(bus, ("0x1ae0", "0x0063"))
    workers = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", workers)
    assert strategy._detect() == "multiworker"
    monkeypatch.setenv("TPU_NAME", "local")
    assert strategy._detect() == "tpu"


def test_strategies_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("TPU_NAME", raising=False)
    assert isinstance(strategy.make_strategy("cpu"), tf.distribute.OneDeviceStrategy)
    assert strategy.make_strategy("auto").num_replicas_in_sync == 1
    with pytest.raises(SpecError, match="only triptych train and triptych pretrain"):
        strategy.make_strategy("multiworker")
    with pytest.raises(SpecError, match="there are auto, cpu"):
        strategy.make_strategy("quantum")
    with pytest.raises(SpecError, match="no TPU answers"):
        strategy.make_strategy("tpu")
