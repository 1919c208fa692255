"""Run the tests that depend on versions on every Python of this machine, each in an environment of its own.

    python tests/matrix.py [--only 3.12,3.13] [--skip 3.11] [--work build/matrix]

For each Python from 3.10 to 3.13 that is found (on PATH or under pyenv) the pinned stack is installed once, the tests
run, and each stack's export is answered by every other stack. Prints a table; exit status 1 where something failed.
Needs nothing but the standard library, because it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
# The end-to-end run, and the files whose subject has changed between versions of a library.
TESTS = (
    "tests/test_end_to_end.py",
    "tests/test_stacks.py::test_an_export_is_kept_for_the_other_stacks",
    "tests/pipelines/test_checkpoints.py",
    "tests/serving/test_client_failures.py",
    "tests/serving/test_rest.py",
    "tests/serving/test_tensor_codec.py",
    "tests/tfrecs/test_demo_catalogue.py",
    "tests/tfrecs/test_feature_kinds.py",
    "tests/tfrecs/test_foreign_tables.py",
    "tests/tfrecs/test_media.py",
    "tests/tfrecs/test_sounds.py",
    "tests/towers/test_layers.py",
    "tests/towers/test_retrieval_loss.py",
    "tests/towers/test_tokens.py",
)
LOADS = "tests/test_stacks.py::test_exports_of_the_other_stacks_give_the_answers_that_they_gave_there"


def find_pythons() -> dict[str, str]:
    """Return version -> interpreter, of those that start and can make environments."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = {}
    for version in VERSIONS:
        candidates = [shutil.which(f"python{version}"), shutil.which("python3")]
        candidates += sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python")), reverse=True)
        probe = f"import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
        for candidate in filter(None, candidates):
            if subprocess.run([candidate, "-c", probe], capture_output=True, check=False).returncode == 0:
                found[version] = candidate
                break
    return found


def install(python: str, environment: Path) -> Path:
    """Make or renew the environment; return its interpreter."""
    inside = environment / "bin" / "python"
    stamp = environment / "installed"
    content = b"".join((REPO / name).read_bytes() for name in ("setup.py", "constraints.txt"))
    wanted = hashlib.sha256(content).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return inside
    if not inside.exists():
        subprocess.run([python, "-m", "venv", environment], check=True)
    pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for arguments in (["--upgrade", "pip"], ["-c", REPO / "constraints.txt", "-e", f"{REPO}[test]"]):
        done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"matrix: pip failed in {environment}:\n{done.stderr}")
    stamp.write_text(wanted)
    return inside


def run_tests(python: Path, version: str, exports: Path, log: Path, tests: tuple[str, ...]) -> tuple[str, bool]:
    """Run tests; return pytest's last line and whether all passed."""
    environment = {**os.environ, "TRIPTYCH_EXPORTS": str(exports), "TRIPTYCH_STACK": version}
    with log.open("w") as file:
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", *tests]
        done = subprocess.run(command, cwd=REPO, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    lines = [line for line in log.read_text().splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    return (lines[-1].strip("= ") if lines else f"no result, see {log}"), done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(VERSIONS), help="versions, separated by commas")
    parser.add_argument("--skip", default="", help="versions that are left out")
    parser.add_argument("--work", type=Path, default=REPO / "build" / "matrix")
    options = parser.parse_args()
    wanted = [version for version in options.only.split(",") if version not in options.skip.split(",")]
    pythons = {version: python for version, python in find_pythons().items() if version in wanted}
    for version in wanted:
        if version not in pythons:
            print(f"Python {version}: not found on this machine, left out", flush=True)
    if not pythons:
        print("matrix: no Python to test on; install one of " + ", ".join(wanted), file=sys.stderr)
        return 2
    exports = options.work / "exports"
    shutil.rmtree(exports, ignore_errors=True)
    exports.mkdir(parents=True)
    inside, results, good = {}, {}, True
    for version, python in pythons.items():
        started = time.monotonic()
        print(f"Python {version} ({python}): installing ...", flush=True)
        inside[version] = install(python, options.work / version)
        print(f"Python {version}: testing ...", flush=True)
        line, passed = run_tests(inside[version], version, exports, options.work / f"{version}.log", TESTS)
        results[version] = f"{line} ({time.monotonic() - started:.0f} s with installing)"
        good &= passed
    rows = []
    for version in pythons:
        line, passed = run_tests(inside[version], version, exports, options.work / f"{version}-loads.log", (LOADS,))
        good &= passed
        report = exports / f"loaded-{version}.json"
        loaded = json.loads(report.read_text()) if report.is_file() else {}
        worst = f", scores within {max(loaded.values()):.1e}" if loaded else ""
        of = f"exports of {', '.join(loaded)}{worst}" if passed else f"FAILED: {line}"
        probe = "from importlib.metadata import version as v; print(*(v(name) for name in ('tensorflow', 'numpy', 'pandas', 'protobuf')))"
        versions = subprocess.run(
            [inside[version], "-c", probe], capture_output=True, text=True, check=True
        ).stdout.split()
        rows.append((version, *versions, results[version], of))
    print(
        "| Python | TensorFlow | numpy | pandas | protobuf | tests | serves |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for row in rows:
        print(f"| {' | '.join(row)} |")
    if not good:
        print(f"matrix: something failed; the logs are {options.work}/*.log", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
