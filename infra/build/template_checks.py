"""Checks the templates as CloudFormation gets them, after the transform, with cfn-lint and checkov.

    infra/build/check            both; checkov is installed for it, with 290 MB
    infra/build/check cfn-lint   one of them

`exceptions.toml` has what they may find, with reasons. `template.yaml` is checked with the parameters of each entry of
VARIANTS, other templates of `infra/` as they are. The exit code is 1 for anything else that is found.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra" / "local"))

from environment import find_python, make  # noqa: E402 — needs the path that is set above

REGION = "eu-west-1"
PREFIX = f"{REGION}:123456789012"
_COMPANY: Mapping[str, str] = {
    "AccessLog": "on",
    "AlertTopicArn": f"arn:aws:sns:{PREFIX}:alerts",
    "AllowedCidrs": "10.0.0.0/8",
    "BedrockGuardrailArn": f"arn:aws:bedrock:{PREFIX}:guardrail/abc123",
    "BedrockModels": "arn:aws:bedrock:*::foundation-model/amazon.nova-pro-v1:0",
    "ChromaTokenSecret": "ssm:/sekha/chroma",
    "ChromaUrl": "https://chroma.example.com",
    "Dashboard": "on",
    "Deployment": "canary",
    "KmsKeyArn": f"arn:aws:kms:{PREFIX}:key/1234-ab",
    "MaxChats": "50",
    "MaxMessages": "50",
    "MaxOllamaRequests": "50",
    "MaxResponses": "50",
    "MetricsPerRoute": "on",
    "OpenAiKeySecret": "ssm:/sekha/openai",
    "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
    "SecretsKeyArn": f"arn:aws:kms:{PREFIX}:key/5678-cd",
    "SnapStart": "all",
    "TlsPolicy": "SecurityPolicy_TLS13_1_3_2025_09",
    "Tracing": "on",
    "VpcFunctions": "all",
    "VpcSecurityGroupIds": "sg-0a1b2c3d",
    "VpcSubnetIds": "subnet-0a1b2c3d,subnet-1a2b3c4d",
    "WebAclArn": f"arn:aws:wafv2:{PREFIX}:regional/webacl/acl/1a2b3c4d-0000-0000-0000-000000000000",
}
# Name → the parameters that are not at their default.
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "company": {
        **_COMPANY,
        "BasePath": "llm",
        "CertificateArn": f"arn:aws:acm:{PREFIX}:certificate/1a2b3c4d-0000-0000-0000-000000000000",
        "DomainName": "llm.example.com",
        "HostedZoneId": "Z0123456789ABCDEFGHIJ",
    },
    "private": {**_COMPANY, "ApiVpcEndpointIds": "vpce-0a1b2c3d"},
}


class Finding(NamedTuple):
    """What a tool has found, in which resource."""

    tool: str
    rule: str
    resource: str
    message: str


class Exemption(NamedTuple):
    """An entry of `exceptions.toml`."""

    tool: str
    rule: str
    resources: Sequence[str]
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether `finding` is allowed by this entry."""
        is_same = (self.tool, self.rule) == (finding.tool, finding.rule)
        return is_same and any(fnmatchcase(finding.resource, pattern) for pattern in self.resources)


def exemptions() -> list[Exemption]:
    """Returns the entries of `exceptions.toml`."""
    file = tomllib.loads((ROOT / "infra" / "build" / "exceptions.toml").read_text())
    return [
        Exemption(tool, entry["id"], entry["resources"], entry["reason"])
        for tool, entries in file.items()
        for entry in entries
    ]


def cfn_lint(template: Path, sam: Path) -> Iterator[Finding]:
    """Yields what cfn-lint finds. `sam` is the environment that has it."""
    command: list[str | Path] = [
        sam / "bin" / "cfn-lint",
        "--format",
        "json",
        "--regions",
        REGION,
        "--template",
        template,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for match in json.loads(done.stdout or "[]"):
        path = [*map(str, match["Location"].get("Path") or []), "", ""]
        yield Finding("cfn-lint", match["Rule"]["Id"], path[1], match["Message"])


def checkov(template: Path, environment: Path) -> Iterator[Finding]:
    """Yields what checkov finds, without asking its vendor's service."""
    command: list[str | Path] = [environment / "bin" / "python", "-m", "checkov.main", "--file", template]
    command += ["--framework", "cloudformation", "--skip-download", "--output", "json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer["summary"]["parsing_errors"]:
        raise SystemExit(f"checkov cannot read {template}: {answer['results']['parsing_errors']}")
    for check in answer["results"]["failed_checks"]:
        yield Finding("checkov", check["check_id"], check["resource"].rpartition(".")[2], check["check_name"])


TOOLS: Mapping[str, tuple[str, Callable[[Path, Path], Iterable[Finding]]]] = {
    "cfn-lint": ("sam", cfn_lint),
    "checkov": ("checkov", checkov),
}


def templates(sam: Path, folder: Path) -> Iterator[Path]:
    """Yields the files to check; those of `template.yaml` are made in `folder`."""
    command: list[str | Path] = [sam / "bin" / "python", ROOT / "tests" / "template" / "transform.py"]
    command += ["s3://code-bucket/code", "s3://code-bucket/layer", json.dumps(list(map(dict, VARIANTS.values())))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    for name, template in zip(VARIANTS, json.loads(done.stdout), strict=True):
        file = folder / f"{name}.json"
        file.write_text(json.dumps(template, indent=1))
        yield file
    yield from (file for file in sorted((ROOT / "infra").glob("*.yaml")) if "Resources:" in file.read_text())


def found_by(tools: Collection[str]) -> tuple[list[tuple[str, Finding]], list[Exemption]]:
    """Returns what the tools find and no entry allows, with the template's name, and the entries that allow nothing."""
    python = find_python()
    entries = [entry for entry in exemptions() if entry.tool in tools]
    faults, used = [], set()
    with tempfile.TemporaryDirectory() as folder:
        files = list(templates(make("sam", python), Path(folder)))
        for name in tools:
            environment, find = TOOLS[name]
            for file in files:
                for finding in find(file, make(environment, python)):
                    covering = [index for index, entry in enumerate(entries) if entry.covers(finding)]
                    used.update(covering)
                    faults += [] if covering else [(file.stem, finding)]
    return faults, [entry for index, entry in enumerate(entries) if index not in used]


def main() -> int:
    """Runs the tools; see the module's docstring. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="infra/build/check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tool", nargs="?", choices=TOOLS, help="default: both")
    tool = parser.parse_args().tool
    faults, unused = found_by([tool] if tool else list(TOOLS))
    for template, finding in faults:
        print(f"{template}: {finding.tool} {finding.rule}, {finding.resource}: {finding.message}")
    for entry in unused:
        print(f"exceptions.toml: nothing matches {entry.tool} {entry.rule} for {', '.join(entry.resources)}")
    print("the templates are free of findings" if not faults and not unused else "see above")
    return 1 if faults or unused else 0


if __name__ == "__main__":
    raise SystemExit(main())
