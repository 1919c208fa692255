"""Messages, tensors, errors and folder layout shared by client and server; no TensorFlow."""
