"""What libraries may write to the log of a function: warnings and errors.

Lambda's own switch, AWS_LAMBDA_LOG_LEVEL, sets the level of the root logger. With DEBUG, libraries that make requests
(botocore, urllib3, httpcore, chromadb) would write decrypted secrets and prompts. Every logger has its level from the
root logger, also one that a library makes later, unless the library sets one itself: then a filter drops its records.
The bridge's logger has a level and an output of its own.
"""

import logging
import os


def quiet_libraries() -> None:
    """Limits all loggers but the bridge's to warnings and errors, in a Lambda function; elsewhere the program that uses
    the bridge decides. Every function calls this first, before it makes a request.
    """
    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:  # which Lambda sets
        return
    logging.root.setLevel(max(logging.root.level, logging.WARNING))
    for handler in logging.root.handlers:
        handler.addFilter(_is_warning)  # once: a handler has each filter once


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
