"""The client as a package of its own: `pip install ./serving/client_package` from a clone of Triptych.

It installs `serving.client` and the modules that it imports, without TensorFlow. Triptych itself contains them too; do
not install both into one environment.
"""

from pathlib import Path

from setuptools import setup

ROOT = Path("..", "..")  # must be relative; setuptools builds in the folder of this file
MODULES = {
    "tfrecs": ("__init__", "_guard", "errors", "schema", "unix_time"),
    "serving": ("__init__",),
    "serving.client": ("__init__", "aio", "calls", "client", "connection", "pictures", "queries"),
    "serving.wire": ("__init__", "errors", "ids", "metadata", "tensors"),
    "serving.wire.stubs": ("__init__",),
}

setup(
    name="triptych-client",
    version="0.1.0",
    description="A typed client for recommenders that Triptych exported, without TensorFlow.",
    license="Apache-2.0",
    python_requires=">=3.10",
    package_dir={"": str(ROOT)},
    py_modules=[f"{package}.{module}" for package, modules in MODULES.items() for module in modules],
    packages=["serving.wire.stubs"],
    package_data={"serving.wire.stubs": ["definitions.pb"]},
    extras_require={"webp": ["pillow>=10"]},  # converts what servers cannot read
    install_requires=["grpcio>=1.60", "numpy>=1.26", "protobuf>=4.25", "pydantic>=2.7"],
)
