"""The SavedModel contract and its signatures, in plain TensorFlow ops."""
