"""Lambda's Runtime API, with streamed responses: what a function runs under in place of Lambda's own Python runtime.

`stream-responses`, in the layer, starts it. It stands beside the rest of the package: neither imports the other. What
it runs is the function's handler, by its name.
"""
