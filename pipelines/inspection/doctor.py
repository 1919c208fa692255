"""`triptych doctor`: what this machine has, what will not work on it, and why."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from pipelines.runs.progress import say

# The versions that setup.py pins, as the installed package declares them.
PACKAGE = "triptych"


@dataclass(frozen=True)
class DoctorJob:
    pass


@dataclass(frozen=True)
class Finding:
    """`remedy` is empty where all is well."""

    subject: str
    fact: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorResult:
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        return not any(finding.remedy for finding in self.findings)


def run(job: DoctorJob) -> DoctorResult:
    """Looks, prints one line per finding, and returns them."""
    findings = (_python(), *_packages(), _keras(), *_accelerators(), _native_decoders(), _text_ops())
    for finding in findings:
        mark = "  ok  " if not finding.remedy else " FAIL "
        say(f"[{mark}] {finding.subject}: {finding.fact}" + (f" -> {finding.remedy}" if finding.remedy else ""))
    return DoctorResult(findings)


def _python() -> Finding:
    fine = (3, 10) <= sys.version_info[:2] <= (3, 11)
    return Finding("python", platform.python_version(), "" if fine else "install Python 3.10 or 3.11")


def _packages() -> list[Finding]:
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    findings = []
    for line in requires(PACKAGE) or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            there = installed_version(requirement.name)
        except PackageNotFoundError:
            findings.append(Finding(requirement.name, "not installed", f"pip install '{requirement}'"))
            continue
        fine = requirement.specifier.contains(there, prereleases=True)
        findings.append(Finding(requirement.name, there, "" if fine else f"pip install '{requirement}'"))
    return findings


def _keras() -> Finding:
    import tensorflow as tf

    module = tf.keras.layers.Layer.__module__
    fine = module.startswith("tf_keras")
    return Finding("tf.keras", f"is {module.split('.')[0]}", "" if fine else "set TF_USE_LEGACY_KERAS=1")


def _accelerators() -> list[Finding]:
    import os

    import tensorflow as tf

    cores = os.cpu_count()
    gpus = tf.config.list_physical_devices("GPU")
    found = [Finding("cpu", f"{cores} cores")]
    found.append(Finding("gpu", f"{len(gpus)} visible" if gpus else "none; --strategy auto trains on the CPU"))
    return found


def _native_decoders() -> Finding:
    try:
        from tensorflow_io.python.ops import core_ops

        core_ops.io_audio_readable_init  # noqa: B018  (touching it loads the native library)
    except (ImportError, NotImplementedError, AttributeError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        return Finding(
            "tensorflow-io native decoders",
            f"do not load ({reason}); WAV still works, mp3, flac, ogg and WebP do not",
            "pip install tensorflow==2.17.1 tensorflow-io==0.37.1",
        )
    return Finding("tensorflow-io native decoders", "load: mp3, flac, ogg, wav, WebP")


def _text_ops() -> Finding:
    try:
        import tensorflow_text
    except ImportError as error:
        return Finding("tensorflow-text", str(error).splitlines()[0][:100], "pip install tensorflow-text==2.17.0")
    return Finding("tensorflow-text ops", f"load ({tensorflow_text.__version__})")
