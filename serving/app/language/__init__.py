"""language: conditions found in what people type."""
