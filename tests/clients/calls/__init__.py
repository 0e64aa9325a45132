"""One program for each Python library: it makes the library's calls, and writes what came of them as JSON.

They run in the environment `client-libraries`, not in that of the tests.
"""
