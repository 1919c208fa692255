"""`triptych doctor`: check versions, accelerators and native libraries of this machine."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed_version

from pipelines.runs.progress import say

PACKAGE = "triptych"  # its metadata has the versions that setup.py pins


@dataclass(frozen=True)
class DoctorJob:
    """Arguments of `triptych doctor`: none."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
      subject: what was checked.
      fact: what it is like.
      remedy: what to do about it; "" where nothing is wrong.
    """

    subject: str
    fact: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorResult:
    """All checks of a machine."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether no check has a remedy."""
        return not any(check.remedy for check in self.checks)


def run(job: DoctorJob) -> DoctorResult:
    """Check the machine and print one line for each check."""
    checks = (_python(), _stack(), *_packages(), _keras(), *_accelerators(), _decoders(), _text_ops())
    for check in checks:
        mark = "  ok  " if not check.remedy else " FAIL "
        say(f"[{mark}] {check.subject}: {check.fact}" + (f" -> {check.remedy}" if check.remedy else ""))
    return DoctorResult(checks)


def _python() -> Check:
    fine = (3, 10) <= sys.version_info[:2] <= (3, 13)
    return Check("python", platform.python_version(), "" if fine else "install Python 3.10 to 3.13")


def _stack() -> Check:
    """Whether tf-keras and tensorflow-text are of TensorFlow's minor version, and which stack of setup.py that is."""
    versions = {}
    for name in ("tensorflow", "tf-keras", "tensorflow-text"):
        with suppress(PackageNotFoundError):  # `_packages` says what is not installed
            versions[name] = installed_version(name)
    minors = {name: version.rsplit(".", 1)[0] for name, version in versions.items()}
    wanted = minors.get("tensorflow", "")
    wrong = [f"'{name}=={wanted}.*'" for name, minor in minors.items() if minor != wanted]
    pythons = "3.10 and 3.11" if sys.version_info < (3, 12) else "3.12 and 3.13"
    fact = f"that of Python {pythons}, with {', '.join(f'{name} {version}' for name, version in versions.items())}"
    return Check("stack", fact, f"pip install {' '.join(wrong)}" if wrong else "")


def _packages() -> list[Check]:
    from packaging.requirements import Requirement

    checks = []
    for line in requires(PACKAGE) or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        remedy = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            version = installed_version(requirement.name)
        except PackageNotFoundError:
            checks.append(Check(requirement.name, "not installed", remedy))
            continue
        fine = requirement.specifier.contains(version, prereleases=True)
        checks.append(Check(requirement.name, version, "" if fine else remedy))
    return checks


def _keras() -> Check:
    import tensorflow as tf

    module = tf.keras.layers.Layer.__module__
    fine = module.startswith("tf_keras")
    return Check("tf.keras", f"is {module.split('.')[0]}", "" if fine else "set TF_USE_LEGACY_KERAS=1")


def _accelerators() -> list[Check]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    gpu = f"{len(gpus)} visible" if gpus else "none; --strategy auto trains on the CPU"
    return [Check("cpu", f"{os.cpu_count()} cores"), Check("gpu", gpu)]


def _decoders() -> Check:
    """What reads sounds and pictures; WAV, JPEG, PNG, GIF and BMP are always read."""
    from PIL import features

    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package is there, the library is not
        reason = str(error).splitlines()[0][:100]
        return Check("sounds", f"libsndfile does not load ({reason}): WAV alone is read", "pip install soundfile")
    fact = f"libsndfile {soundfile.__libsndfile_version__} reads FLAC, Ogg Vorbis, Ogg Opus and AIFF"
    if "MP3" not in soundfile.available_formats():
        return Check("sounds", f"{fact}, no MP3", "pip install --upgrade soundfile")
    if not features.check("webp"):
        return Check("pictures", "Pillow reads no WebP", "pip install --force-reinstall pillow")
    return Check("sounds and pictures", f"{fact} and MP3; Pillow reads WebP")


def _text_ops() -> Check:
    try:
        import tensorflow_text
    except ImportError as error:
        return Check(
            "tensorflow-text",
            str(error).splitlines()[0][:100],
            "install the tensorflow-text of TensorFlow's minor version",
        )
    return Check("tensorflow-text ops", f"load ({tensorflow_text.__version__})")
