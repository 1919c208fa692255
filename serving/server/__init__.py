"""server: the embedded server, which answers as TensorFlow Serving does."""
