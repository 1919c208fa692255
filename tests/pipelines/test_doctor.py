"""What `triptych doctor` says of the packages that are installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from pipelines.inspection import doctor


def install(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Make `versions` (with _ for -) what is installed."""

    def version(name: str) -> str:
        try:
            return versions[name.replace("-", "_")]
        except KeyError:
            raise PackageNotFoundError(name) from None

    monkeypatch.setattr(doctor, "installed_version", version)


@pytest.mark.parametrize(
    ("versions", "remedy"),
    [
        ({"tensorflow": "2.20.0", "tf_keras": "2.20.1", "tensorflow_text": "2.20.1"}, ""),
        ({"tensorflow": "2.20.0", "tf_keras": "2.21.0", "tensorflow_text": "2.20.1"}, "pip install 'tf-keras==2.20.*'"),
        (
            {"tensorflow": "2.19.1", "tf_keras": "2.17.0", "tensorflow_text": "2.18.0"},
            "pip install 'tf-keras==2.19.*' 'tensorflow-text==2.19.*'",
        ),
        ({"tensorflow": "2.20.0", "tf_keras": "2.20.1"}, ""),
    ],
)
def test_the_parts_of_a_stack_must_be_of_tensorflows_minor_version(
    versions: dict[str, str], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, **versions)
    assert doctor._stack().remedy == remedy


def test_a_package_that_is_missing_or_of_another_version_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "pandas<4,>=2.2",
        "click>=8.1",
        "rich>=13",
        "optuna; extra == 'tune'",
        "nothing; python_version < '3'",
    ]
    monkeypatch.setattr(doctor, "requires", lambda package: requirements)
    install(monkeypatch, pandas="1.5.0", rich="15.0.0")
    assert [(check.subject, check.fact, check.remedy) for check in doctor._packages()] == [
        ("pandas", "1.5.0", "pip install 'pandas<4,>=2.2'"),
        ("click", "not installed", "pip install 'click>=8.1'"),
        ("rich", "15.0.0", ""),
    ]
