"""export_check: the gate that an export passes before anybody serves it."""
