"""The embedded server, compatible with TensorFlow Serving."""
