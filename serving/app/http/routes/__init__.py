"""Routes of the app, one module per subject, and their shared parameters."""
