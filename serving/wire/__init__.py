"""wire: messages, tensors, errors and folder layout that client and server share; no TensorFlow."""
