"""Prints what CloudFormation's transform makes of `template.yaml`, as JSON. Runs in the SAM CLI's environment.

    python transform.py CODE LAYER [PARAMETERS]

CODE and LAYER are the addresses of the functions' code and of the layers' contents, as after an upload. PARAMETERS is a
JSON list of mappings, each with the parameters that are not at their default. The result is a list, with a template for
each mapping.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from samcli.yamlhelper import yaml_parse  # type: ignore[import-not-found]  # these two are in the SAM CLI's environment
from samtranslator.parser.parser import Parser  # type: ignore[import-not-found]
from samtranslator.translator.translator import Translator  # type: ignore[import-not-found]

# Only its name is known to the template.
MANAGED_POLICIES = {"AWSLambdaBasicExecutionRole": "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"}


def transform(code: str, layer: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Returns the template after the transform, with these `parameters` and the others at their default."""
    template = yaml_parse((Path(__file__).resolve().parents[2] / "template.yaml").read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = code
        if resource["Type"] == "AWS::Serverless::LayerVersion":
            resource["Properties"]["ContentUri"] = layer
    values = {name: parameter["Default"] for name, parameter in template["Parameters"].items()} | dict(parameters)
    translator = Translator(MANAGED_POLICIES, Parser(), boto_session=boto3.Session(region_name="eu-west-1"))
    translated: dict[str, Any] = translator.translate(template, values)
    return translated


if __name__ == "__main__":
    given = json.loads(sys.argv[3]) if len(sys.argv) > 3 else [{}]
    sys.stdout.write(json.dumps([transform(sys.argv[1], sys.argv[2], parameters) for parameters in given]))
