"""The Keras encoders, one per modality."""
