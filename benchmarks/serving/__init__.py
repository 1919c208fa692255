"""serving: the embedded server against limits measured in the same run."""
