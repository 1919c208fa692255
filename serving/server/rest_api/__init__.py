"""rest_api: TensorFlow Serving's HTTP API."""
