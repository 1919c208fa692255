"""The `tf.distribute.Strategy` of a name; nothing else in the code knows about devices."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import tensorflow as tf

from pipelines.cluster.tf_config import cluster_of
from pipelines.cluster.workers import Workers
from pipelines.runs.progress import say
from tfrecs.errors import SpecError

NAMES = ("auto", "cpu", "mirrored", "multiworker", "tpu")
_PCI = Path("/sys/bus/pci/devices")
_GOOGLE = "0x1ae0"
# v2 and v3, v4, v5p, v5e, v6e, v7x; as JAX lists them (jax/_src/hardware_utils.py). Google's disks and network cards
# have the same vendor.
_TPUS = {"0x0027", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076"}


_ONE_MACHINE = SpecError(
    "--strategy multiworker: only triptych train and triptych pretrain run on several workers; run the other steps on one "
    "machine, with TF_CONFIG unset"
)


def check_one_machine(name: str) -> None:
    """Check, before a step that runs on one machine, that a strategy does too. Raises SpecError."""
    if cluster_of(name) is not None:
        raise _ONE_MACHINE


def make_strategy(name: str, workers: Workers | None = None) -> tf.distribute.Strategy:
    """Make the strategy of a name.

    - `cpu`: one replica on the CPU, whatever else there is.
    - `mirrored`: one replica per visible GPU; without GPUs, per logical CPU device.
    - `multiworker`: synchronous over the workers of the TF_CONFIG environment variable.
    - `tpu`: the TPU that TPU_NAME names, or the local one (Colab, a TPU VM).
    - `auto`: a TPU where TPU_NAME is set or one is plugged in (and tensorflow-tpu installed), several workers where
      TF_CONFIG names some, all GPUs where there are any, else the CPU.

    Args:
      name: of the strategy.
      workers: that this process has joined; None where the step runs on one machine only.

    Raises:
      SpecError: an unknown name, hardware that is not there, or several workers for a step that knows of none.
    """
    if name == "auto":
        name = _detect()
    if name == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])
    if name == "multiworker":
        if workers is None or workers.cluster is None:
            raise _ONE_MACHINE
        return workers.start()
    if name == "tpu":
        return _tpu()
    raise SpecError(f"--strategy {name}: there are {', '.join(NAMES)}")


def _detect() -> str:
    if "TPU_NAME" in os.environ:
        return "tpu"
    if cluster_of("auto") is not None:
        return "multiworker"
    if local_tpus():
        if find_spec("libtpu"):
            return "tpu"
        say(
            "warning: this machine has a TPU, which TensorFlow cannot use without tensorflow-tpu: pip install 'triptych[tpu]'"
        )
    return "mirrored" if tf.config.list_physical_devices("GPU") else "cpu"


def local_tpus() -> int:
    """Count the TPU chips on this machine's PCI bus. Colab and TPU VMs have some and do not set TPU_NAME."""

    def is_tpu(device: Path) -> bool:
        vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "device"))
        return vendor == _GOOGLE and kind in _TPUS

    return sum(is_tpu(device) for device in _PCI.iterdir()) if _PCI.is_dir() else 0


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0][:120]
        raise SpecError(
            f"--strategy tpu: no TPU answers ({reason}); check TPU_NAME and pip install 'triptych[tpu]'"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
