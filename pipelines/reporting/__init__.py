"""`report.json`, `report.md` and their plots."""
