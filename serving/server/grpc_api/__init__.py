"""The gRPC API: PredictionService, ModelService and the health service."""
