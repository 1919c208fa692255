"""store: events of users, the log that a build takes, and what was shown."""
