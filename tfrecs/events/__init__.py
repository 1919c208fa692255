"""events: a log of any length, cleaned, sorted by user and split, in bounded memory."""
