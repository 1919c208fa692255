"""encoders: one Keras encoder per modality, and what each is to the rest of the model."""
