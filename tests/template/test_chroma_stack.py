"""The stack of a Chroma server, and its setup script with stand-ins for the programs that only AWS's machine has."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import idle_cost_table
from idle_cost import chroma_lines, total
from tests.template.chroma_stack import PRELUDE, RESOURCES, SETUP, TEMPLATE, TEMPLATE_FILE, executable, update_script
from tests.template.cloudformation import references

PARAMETERS = TEMPLATE["Parameters"]
MAX_USER_DATA = 16_384  # bytes, before the encoding
TOKEN = "aB3" * 16
BASH = shutil.which("bash") or "/bin/bash"

Run = Callable[..., subprocess.CompletedProcess[str]]


def of_type(kind: str) -> list[dict[str, object]]:
    return [one["Properties"] for one in RESOURCES.values() if one["Type"] == kind]


def test_cfn_lint_has_nothing_to_say(sam_python: Path) -> None:
    command: list[str | Path] = [sam_python.with_name("cfn-lint"), "--template", TEMPLATE_FILE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_parameter_has_a_default_and_a_description() -> None:
    assert [name for name, one in PARAMETERS.items() if "Default" not in one or not one["Description"]] == []


def test_the_outputs_are_parameters_of_the_bridge() -> None:
    assert TEMPLATE["Outputs"].keys() - {"VolumeId"} == {
        "ChromaUrl",
        "ChromaTokenSecret",
        "VpcSubnetIds",
        "VpcSecurityGroupIds",
    }
    name = RESOURCES["Token"]["Properties"]["Name"]["Fn::Sub"]
    assert TEMPLATE["Outputs"]["ChromaTokenSecret"]["Value"] == {"Fn::Sub": f"secretsmanager:{name}"}
    assert name.startswith("${SecretsPrefix}/")  # what the bridge may read
    host = RESOURCES["Zone"]["Properties"]["Name"]["Fn::Sub"]
    assert TEMPLATE["Outputs"]["ChromaUrl"]["Value"] == {"Fn::Sub": f"http://chroma.{host}:8000"}
    assert f"NAME='chroma.{host}'" in PRELUDE


def test_the_description_says_what_it_costs() -> None:
    assert PARAMETERS["VolumeGb"]["Default"] == idle_cost_table.CHROMA_VOLUME_GB
    assert PARAMETERS["InstanceType"]["Default"] == "t4g.small"
    without, with_vpc = (
        total(chroma_lines(volume_gb=idle_cost_table.CHROMA_VOLUME_GB, makes_vpc=makes)) for makes in (False, True)
    )
    assert f"${without:.2f} a month" in TEMPLATE["Description"]
    assert f"${with_vpc - without:.2f} for a NAT gateway" in TEMPLATE["Description"]


def test_only_the_bridge_reaches_chroma_and_nobody_reaches_a_shell() -> None:
    [rule] = RESOURCES["ChromaSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["ToPort"]) == (8000, 8000)
    assert rule["SourceSecurityGroupId"] == {"Ref": "BridgeSecurityGroup"}
    assert "SecurityGroupIngress" not in RESOURCES["BridgeSecurityGroup"]["Properties"]
    launch = RESOURCES["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    assert "KeyName" not in launch
    assert launch["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
    }
    subnets = [one for one in of_type("AWS::EC2::Subnet") if one.get("MapPublicIpOnLaunch")]
    assert subnets == []


def test_the_data_are_encrypted_backed_up_and_never_deleted_with_the_stack() -> None:
    volume = RESOURCES["Volume"]
    assert (volume["DeletionPolicy"], volume["UpdateReplacePolicy"]) == ("Snapshot", "Snapshot")
    assert volume["Properties"]["Encrypted"] is True
    [policy] = of_type("AWS::DLM::LifecyclePolicy")
    details = policy["PolicyDetails"]
    assert isinstance(details, dict)
    assert details["TargetTags"][0] in volume["Properties"]["Tags"]
    assert details["Schedules"][0]["RetainRule"] == {"Count": {"Ref": "BackupsKept"}}
    root = RESOURCES["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["BlockDeviceMappings"][0]
    assert root["Ebs"]["Encrypted"] is True


def test_an_instance_is_replaced_only_after_it_has_ended_because_the_volume_has_room_for_one() -> None:
    group = RESOURCES["Instances"]
    update = group["UpdatePolicy"]["AutoScalingRollingUpdate"]
    assert (update["MinInstancesInService"], update["MaxBatchSize"], update["WaitOnResourceSignals"]) == (0, 1, True)
    assert (group["Properties"]["MinSize"], group["Properties"]["MaxSize"]) == ("1", "1")


def test_the_role_names_every_resource_and_no_action_with_a_star() -> None:
    [policy] = RESOURCES["InstanceRole"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action]
        assert statement["Resource"] != "*"
        assert references(statement["Resource"]) or "Fn::GetAtt" in statement["Resource"]


# ---- The setup script


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a text after the script's functions, with stand-ins that record how they are called in `calls`.

    A stand-in prints what the file of its name in `answers` has, and fails if there is a file NAME.fails.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "answers").mkdir()
    for name in ("aws", "blkid", "curl", "dnf", "docker", "mkfs.xfs", "mount", "sleep", "systemctl", "xfs_growfs"):
        executable(
            programs / name,
            f'#!/bin/bash\necho {name} "$*" >>{tmp_path}/calls\n'
            f"cat {tmp_path}/answers/{name} 2>/dev/null\n[ ! -e {tmp_path}/answers/{name}.fails ]\n",
        )

    def with_text(text: str) -> subprocess.CompletedProcess[str]:
        script = SETUP.replace("/etc/", f"{tmp_path}/etc/").replace("/var/lib/", f"{tmp_path}/lib/")
        (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True, exist_ok=True)
        (tmp_path / "etc" / "fstab").touch()
        names = ("AWS_DEFAULT_REGION", "STACK", "VOLUME", "ZONE", "TOKEN_SECRET", "NAME", "LOG_GROUP")
        environ = {name: f"the-{name.lower()}" for name in (*names, "CHROMA_IMAGE", "PROXY_IMAGE", "INSTANCE")}
        path = f"{programs}:{os.environ['PATH']}"
        return subprocess.run(
            [BASH, "-c", f"CHROMA_SETUP=functions\n{script}\n{text}"],
            env={**environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    return with_text


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_the_script_fits_into_user_data_and_is_valid_bash() -> None:
    assert len((PRELUDE + SETUP).encode()) < MAX_USER_DATA * 0.9
    for text in (SETUP, update_script()):
        done = subprocess.run([BASH, "-n"], input=text, text=True, capture_output=True, check=False)
        assert done.stderr == ""


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    for text in (f"#!/bin/bash\n{SETUP}", update_script()):
        command = ["shellcheck", "--severity", "warning", "--exclude", "SC2154", "-"]
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        assert done.stdout == ""


def test_a_new_volume_gets_a_file_system_and_one_with_data_does_not(run: Run, tmp_path: Path) -> None:
    assert run("mount_data /dev/new").returncode == 0
    assert "mkfs.xfs -L chroma /dev/new" in calls(tmp_path)
    (tmp_path / "calls").unlink()
    (tmp_path / "answers" / "blkid").write_text("xfs\n")
    assert run("mount_data /dev/old").returncode == 0
    assert not [call for call in calls(tmp_path) if call.startswith("mkfs")]
    assert (tmp_path / "etc" / "fstab").read_text().count("LABEL=chroma") == 1


def test_a_volume_that_cannot_be_looked_at_is_never_overwritten(run: Run, tmp_path: Path) -> None:
    """mkfs.xfs refuses a device with a file system, unless it is told to by -f."""
    (tmp_path / "answers" / "blkid.fails").touch()
    (tmp_path / "answers" / "mkfs.xfs.fails").touch()
    assert run("mount_data /dev/old").returncode != 0
    assert [call for call in calls(tmp_path) if call.startswith("mkfs")] == ["mkfs.xfs -L chroma /dev/old"]
    assert not [call for call in calls(tmp_path) if call.startswith("mount")]


def test_a_failed_setup_tells_the_stack_and_the_setup_ends(run: Run, tmp_path: Path) -> None:
    (tmp_path / "answers" / "curl").write_text("i-1\n")
    (tmp_path / "answers" / "dnf.fails").touch()
    assert run("attach_volume() { :; }\nmain").returncode != 0
    told = [call for call in calls(tmp_path) if "signal-resource" in call]
    assert [call.rpartition(" ")[2] for call in told] == ["FAILURE"]
    assert "--unique-id i-1" in told[0]
    assert not [call for call in calls(tmp_path) if call.startswith("docker")]


def test_a_setup_that_succeeds_names_the_instance_after_it_answers_and_tells_the_stack_last(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "answers" / "curl").write_text("i-1\n")
    (tmp_path / "answers" / "aws").write_text(f"{TOKEN}\n")
    done = run("attach_volume() { :; }\nmain")
    assert done.returncode == 0, done.stderr
    made = calls(tmp_path)
    steps = (
        *("docker run -d --name chroma", "docker run -d --name proxy", "curl -sSf -o /dev/null"),
        "systemctl enable --now chroma-name.service",
    )
    order = [next(i for i, call in enumerate(made) if call.startswith(step)) for step in steps]
    assert order == sorted(order)
    assert made[-1].endswith("--status SUCCESS")
    chroma = made[order[0]]
    assert "-p 127.0.0.1:8001:8000" in chroma  # only the proxy reaches it
    assert TOKEN not in "\n".join(made)


def test_the_name_is_deleted_when_the_instance_ends_because_a_zone_with_a_record_cannot_be_deleted(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "answers" / "curl").write_text("10.90.16.7\n")
    assert run('mkdir -p "$PROXY"; set_name').returncode == 0
    unit = (tmp_path / "etc" / "systemd" / "system" / "chroma-name.service").read_text()
    for command, action in (("ExecStart", "UPSERT"), ("ExecStop", "DELETE")):
        [file] = re.findall(rf"(?m)^{command}=/usr/bin/aws route53 .* --hosted-zone-id the-zone .*file://(\S+)$", unit)
        [change] = json.loads(Path(file).read_text())["Changes"]
        assert change["Action"] == action
        assert change["ResourceRecordSet"]["Name"] == "the-name"
        assert change["ResourceRecordSet"]["ResourceRecords"] == [{"Value": "10.90.16.7"}]


def test_the_instance_has_its_way_to_aws_as_long_as_it_lives_and_its_roles_have_the_boundary() -> None:
    routes = {name for name, one in RESOURCES.items() if one["Type"] == "AWS::EC2::Route"}
    assert RESOURCES["Instances"]["DependsOn"] == "WayToAws"
    assert routes <= {route["Ref"] for route in RESOURCES["WayToAws"]["Metadata"]["Routes"]["Fn::If"][1]}
    boundary = {"Fn::If": ["HasPermissionsBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]}
    assert [one["PermissionsBoundary"] for one in of_type("AWS::IAM::Role")] == [boundary, boundary]


def test_the_proxys_configuration_is_for_root_alone_and_changes_only_with_the_token(run: Run, tmp_path: Path) -> None:
    answer = tmp_path / "answers" / "aws"
    answer.write_text(f"{TOKEN}\n")
    folder = tmp_path / "etc" / "chroma-proxy"
    assert run('install_token_script; "$PROXY/update"').returncode == 0
    assert (folder / "chroma.conf").stat().st_mode & 0o077 == 0
    assert [file.name for file in folder.glob("*.conf")] == ["chroma.conf"]
    assert run('"$PROXY/update"').returncode == 1  # nothing has changed
    assert [file.name for file in folder.glob("*.conf")] == ["chroma.conf"]
    answer.write_text(f"{TOKEN[::-1]}\n")
    assert run('"$PROXY/update"').returncode == 0
    assert TOKEN[::-1] in (folder / "chroma.conf").read_text()


@pytest.mark.parametrize("odd", ["", "short", '.*"; } #' * 8, "a b" * 20])
def test_without_a_usable_token_the_last_configuration_stays(run: Run, tmp_path: Path, odd: str) -> None:
    answer = tmp_path / "answers" / "aws"
    answer.write_text(f"{TOKEN}\n")
    assert run('install_token_script; "$PROXY/update"').returncode == 0
    before = (tmp_path / "etc" / "chroma-proxy" / "chroma.conf").read_text()
    answer.write_text(f"{odd}\n")
    assert run('"$PROXY/update"').returncode == 1
    assert (tmp_path / "etc" / "chroma-proxy" / "chroma.conf").read_text() == before
