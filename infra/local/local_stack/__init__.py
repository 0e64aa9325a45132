"""The local stack: runs everything that a deployment has on this machine, without containers.

`template.yaml` defines the resources (read by `template_reader`); `stack` starts and stops them. Path of a request:

    http_server → gateway (routes, proxy_event) → functions (a pool per function) → instance + runtime_api →
    proxy_answer

The other parts are `aws_services` (DynamoDB and SQS of moto), `chroma`, `models` (the embedded model) and `scheduler`.
`processes` starts and stops every process.
"""
