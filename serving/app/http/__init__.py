"""HTTP service: middleware, error handlers and routes."""
