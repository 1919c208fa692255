"""tables: the user's tables as frames that keep ids and line numbers as they are."""
