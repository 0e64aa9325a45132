"""The local stack: everything a deployment has, on this machine, without containers.

`template.yaml` says what there is (`template`); `stack` starts it and ends it. One request passes through:

    http_server → gateway (routes, proxy_event) → functions (a pool per function) → instance + runtime_api →
    proxy_answer

Beside it run `aws_services` (DynamoDB and SQS by moto), `chroma`, `models` (the embedded model) and `scheduler`;
every process is started and ended by `processes`.
"""
