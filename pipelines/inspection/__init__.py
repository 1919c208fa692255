"""inspection: warnings about records, and a page of items to look at."""
