"""What is in records and exports, and what this machine can run."""
