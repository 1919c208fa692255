"""The embedded server against limits that are measured in the same run."""
