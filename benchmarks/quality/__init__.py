"""quality: recommendations beside tuned peers."""
