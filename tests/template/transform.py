"""Prints what CloudFormation's transform makes of `template.yaml`, as JSON. Runs in the SAM CLI's environment.

    python transform.py CODE LAYER

CODE and LAYER are the addresses of the functions' code and of the layers' contents, as after an upload.
"""

import json
import sys
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse  # type: ignore[import-not-found]  # these two are in the SAM CLI's environment
from samtranslator.parser.parser import Parser  # type: ignore[import-not-found]
from samtranslator.translator.translator import Translator  # type: ignore[import-not-found]

# Only its name is known to the template.
MANAGED_POLICIES = {"AWSLambdaBasicExecutionRole": "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"}


def transform(code: str, layer: str) -> str:
    """The transform, with every parameter at its default."""
    template = yaml_parse((Path(__file__).resolve().parents[2] / "template.yaml").read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = code
        if resource["Type"] == "AWS::Serverless::LayerVersion":
            resource["Properties"]["ContentUri"] = layer
    values = {name: parameter["Default"] for name, parameter in template["Parameters"].items()}
    translator = Translator(MANAGED_POLICIES, Parser(), boto_session=boto3.Session(region_name="eu-west-1"))
    return json.dumps(translator.translate(template, values))


if __name__ == "__main__":
    sys.stdout.write(transform(sys.argv[1], sys.argv[2]))
