"""monitoring: drift of requests and answers since training."""
