"""Starting the embedded server, and querying a served model."""
