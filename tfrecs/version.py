"""The one place that says which version of Triptych this is; `setup.py` runs this file without importing tfrecs."""

VERSION = "0.1.0"
