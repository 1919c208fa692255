"""Shows before the long work what a build would come to: mistakes that the tables alone show, and a sample of the content."""
