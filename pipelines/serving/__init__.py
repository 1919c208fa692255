"""serving: starting the embedded server, and asking a served model."""
