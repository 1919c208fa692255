"""User events: the stores, the interaction log for later builds, and the impression log."""
