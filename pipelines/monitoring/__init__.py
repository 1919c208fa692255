"""monitoring: drift of what happens in the app."""
