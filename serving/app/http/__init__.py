"""http: the app's routes and what guards them."""
