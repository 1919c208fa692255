"""The app as tools for language-model agents: a Model Context Protocol server over the same engine, store and limits.

A second face of the app beside `serving.app.http`: both are thin and use `serving.app.state`, and neither imports the other's
routes. Only `server`, `resources`, `prompts` and `transports` import the `mcp` SDK, which is an optional package.
"""
