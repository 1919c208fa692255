"""Query parsing: conditions on categories, numbers and words, and the item masks they give."""
