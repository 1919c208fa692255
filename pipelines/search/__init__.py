"""The lexical half of text search, fitted to the catalogue's own texts."""
