"""Web service in front of a served model: live profiles, text queries, reasons, feedback, and a page.

It talks gRPC to any server of TensorFlow Serving's API through `serving.client.aio` and imports no TensorFlow. `API.md`
describes its routes; `pipelines/webapp/wiring.py` assembles it from configuration and data folder.
"""
