"""Reads media files into arrays."""
