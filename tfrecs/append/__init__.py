"""append: new items and events into records that are there."""
