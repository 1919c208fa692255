"""serving.app: a web service in front of a served model: live profiles, words, reasons, feedback, and a page.

Talks gRPC to any server of TensorFlow Serving's API through `serving.client.aio`; imports no TensorFlow. `API.md` says what
each address takes and answers; `pipelines/webapp/wiring.py` puts the parts together.
"""
