"""Run the tests that depend on versions on every Python of this machine, each in an environment of its own.

    python tests/matrix.py [--only 3.12,3.13] [--ends] [--no-wheel] [--work build/matrix]

For each Python from 3.10 to 3.13 that is found (on PATH or under pyenv) the pinned stack is installed once, the tests
run (on the newest Python those marked `matrix` as well), and each stack's export is answered by every other stack. Then
sdist and wheel are built, the wheel is installed without pins into an empty environment of the newest Python, and a
small demo runs from it. Prints a table, and each test that failed with its error; exit status 1 where something failed.
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
    "tests/pipelines/test_killed_runs.py",
    "tests/pipelines/test_workers.py",
    "tests/serving/test_client_failures.py",
    "tests/serving/test_rest.py",
    "tests/serving/test_tensor_codec.py",
    "tests/tfrecs/test_beam.py",
    "tests/tfrecs/test_demo_catalogue.py",
    "tests/tfrecs/test_feature_kinds.py",
    "tests/tfrecs/test_foreign_tables.py",
    "tests/tfrecs/test_media.py",
    "tests/tfrecs/test_sounds.py",
    "tests/towers/test_layers.py",
    "tests/towers/test_retrieval_loss.py",
    "tests/towers/test_tokens.py",
)
# On the newest Python, which Colab has; without the files of TESTS in which tests are marked.
MARKED = ("-m", "matrix", *(f"--ignore={name}" for name in TESTS if "::" not in name))
SMALL_DEMO = ("demo.items=60", "demo.users=60", "demo.interactions=1500", "train.epochs=2", "cooccurrence.epochs=1")
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
    """Make or renew the environment with the pinned stack; return its interpreter."""
    inside = environment / "bin" / "python"
    stamp = environment / "installed"
    content = b"".join((REPO / name).read_bytes() for name in ("setup.py", "constraints.txt"))
    wanted = hashlib.sha256(content).hexdigest()
    if not (stamp.is_file() and stamp.read_text() == wanted):
        pip_install(python, environment, "-c", REPO / "constraints.txt", "-e", f"{REPO}[test]")
        stamp.write_text(wanted)
    return inside


def pip_install(python: str, environment: Path, *arguments: str | Path) -> None:
    """Install into an environment, which is made if it is not there; ends the program where pip fails."""
    inside = environment / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", environment], check=True)
    pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for part in (("--upgrade", "pip"), arguments):
        done = subprocess.run([*pip, *part], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"matrix: pip failed in {environment}:\n{done.stderr}")


def check_wheel(python: str, work: Path) -> tuple[str, bool]:
    """Build sdist and wheel, install the wheel into an empty environment and run a small demo from it."""
    folder = work / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    pip_install(python, folder / "build", "build")
    command = [folder / "build" / "bin" / "python", "-m", "build", "--outdir", folder / "dist", REPO]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list((folder / "dist").glob("*.whl"))
    if built.returncode or not wheels:
        return f"not built: {built.stderr.strip().splitlines()[-1]}", False
    pip_install(python, folder / "empty", f"{wheels[0]}[app,tune]")
    small = [f"--set={change}" for change in SMALL_DEMO]
    with (work / "wheel.log").open("w") as log:
        command = [folder / "empty" / "bin" / "triptych", "demo", *small]
        ran = subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=False)
    passed = ran.returncode == 0
    return f"{wheels[0].name}: " + ("installs, and its demo runs" if passed else f"demo failed, see {log.name}"), passed


def run_tests(python: Path, version: str, exports: Path, log: Path, tests: tuple[str, ...]) -> tuple[str, bool]:
    """Run tests; return pytest's last line and whether all passed."""
    environment = {**os.environ, "TRIPTYCH_EXPORTS": str(exports), "TRIPTYCH_STACK": version}
    with log.open("w") as file:
        parallel = ("-n", str(os.cpu_count()), "--dist", "loadfile")
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", *parallel, *tests]
        done = subprocess.run(command, cwd=REPO, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    text = log.read_text().splitlines()
    for line in text:
        if line.startswith(("FAILED ", "ERROR ", "E   ")):  # the log may be on a machine that is gone when this is read
            print(line[:400], flush=True)
    lines = [line for line in text if re.search(r"\d+ (passed|failed|error)", line)]
    return (lines[-1].strip("= ") if lines else f"no result, see {log}"), done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(VERSIONS), help="versions, separated by commas")
    parser.add_argument("--ends", action="store_true", help="of those that are found, the oldest and the newest")
    parser.add_argument("--no-wheel", action="store_true", help="leave the check of the wheel out")
    parser.add_argument("--work", type=Path, default=REPO / "build" / "matrix")
    options = parser.parse_args()
    wanted, found = options.only.split(","), find_pythons()
    pythons = {version: found[version] for version in wanted if version in found}
    for version in wanted:
        if version not in pythons:
            print(f"Python {version}: not found on this machine, left out", flush=True)
    if options.ends:
        pythons = {version: pythons[version] for version in [*pythons][:1] + [*pythons][1:][-1:]}
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
        lines = []
        for name, tests in (("", TESTS), ("-marked", MARKED))[: 2 if version == [*pythons][-1] else 1]:
            line, passed = run_tests(inside[version], version, exports, options.work / f"{version}{name}.log", tests)
            lines.append(line)
            good &= passed
        results[version] = f"{'; '.join(lines)} ({time.monotonic() - started:.0f} s with installing)"
    wheel = ""
    if not options.no_wheel:
        print("Wheel: building, installing, running a small demo ...", flush=True)
        wheel, passed = check_wheel(list(pythons.values())[-1], options.work)
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
    if wheel:
        print(f"Wheel: {wheel}")
    if not good:
        print(f"matrix: something failed; the logs are {options.work}/*.log", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
