"""spec: `dataset.yaml`, read, checked, inferred and written."""
