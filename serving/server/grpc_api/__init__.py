"""grpc_api: PredictionService, ModelService and the health service."""
