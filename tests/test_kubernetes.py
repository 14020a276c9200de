"""docs/kubernetes: valid by Kubernetes' own schemas, and in step with the settings, the command line and the image."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
import typer
import yaml

from api import lag
from runway_streams.cli import app
from runway_streams.config import Config

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "kubernetes"
VERSIONS = ("1.34", "1.37")
FOREIGN = {"ScaledObject", "Kustomization"}
"""Kinds that are not Kubernetes' own."""
VARIABLES = set(
    re.findall(r'"(RUNWAY_[A-Z_]+)"', "".join(path.read_text() for path in (ROOT / "runway_streams").glob("*.py")))
)
DOCKERFILE = (ROOT / "Dockerfile").read_text()

Document = dict


def documents() -> list[tuple[str, Document]]:
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            name = document.get("metadata", {}).get("name", "")
            found.append((f"{path.name}: {document['kind']} {name}", document))
    return found


DOCUMENTS = documents()
every = pytest.mark.parametrize("document", [document for _, document in DOCUMENTS], ids=[name for name, _ in DOCUMENTS])


def of_kind(*kinds: str) -> list[Document]:
    return [document for _, document in DOCUMENTS if document["kind"] in kinds]


def template(document: Document) -> Document:
    spec = document["spec"].get("jobTemplate", document)["spec"]
    return spec["template"]


def pods() -> list[tuple[str, Document]]:
    """Every pod template, with its owner's name."""
    kinds = ("StatefulSet", "Deployment", "CronJob", "Job")
    return [(document["metadata"]["name"], template(document)) for document in of_kind(*kinds)]


PODS = pods()
each_pod = pytest.mark.parametrize("pod", [pod for _, pod in PODS], ids=[name for name, _ in PODS])


def containers(pod: Document) -> Iterator[Document]:
    yield from pod["spec"]["containers"]


def settings() -> dict[str, str]:
    (found,) = of_kind("ConfigMap")
    return found["data"]


def environ(container: Document) -> dict[str, str | None]:
    """What a container's environment holds; None for what comes from a secret."""
    own = {one["name"]: one.get("value") or _field(one) for one in container["env"]}
    return settings() | own


def _field(variable: Document) -> str | None:
    return "some-name" if "fieldRef" in variable["valueFrom"] else None


@every
def test_it_is_valid_by_the_schemas_of_kubernetes(document: Document):
    if document["kind"] in FOREIGN:
        return
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


@every
def test_it_lies_in_one_namespace_and_in_the_kustomization(document: Document):
    if document["kind"] == "Kustomization":
        assert set(document["resources"]) == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    elif document["kind"] != "Namespace":
        assert document["metadata"]["namespace"] == "runway"


@each_pod
def test_its_variables_are_settings_and_can_be_used_together(pod: Document):
    for container in containers(pod):
        given = environ(container)
        assert {name for name in given if name.startswith("RUNWAY_")} <= VARIABLES
        assert all(name.startswith("RUNWAY_") for name in given)
        secrets = {"RUNWAY_DATABASE": "postgresql://runway:secret@db/runway"}
        config = Config.from_env(
            {name: secrets.get(name, "secret") if value is None else value for name, value in given.items()}
        )
        assert config.security.protocol == "SASL_SSL"
        assert config.checkpoint_every_s, "a checkpoint in the lake is what a lost volume comes back from"


@each_pod
def test_its_command_is_one_of_the_command_line(pod: Document):
    for container in containers(pod):
        arguments = container["args"]
        if "command" in container:
            assert container["command"] == ["/bin/sh", "-c"]
            arguments = shlex.split(arguments[0])[2:]
            assert "exec runway" in container["args"][0], "so that signals reach it"
        group, rest = typer.main.get_command(app), list(arguments)
        while hasattr(group, "commands"):
            group = group.commands[rest.pop(0)]
        known = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= known, arguments


def test_the_image_is_the_one_that_the_dockerfile_makes():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {container["image"] for _, pod in PODS for container in containers(pod)}
    assert images == {f"runway-streams:{version}"}
    assert 'ENTRYPOINT ["runway"]' in DOCKERFILE
    (kustomization,) = of_kind("Kustomization")
    assert kustomization["images"] == [{"name": "runway-streams", "newTag": version}]
    home = re.search(r"RUNWAY_HOME=(\S+)", DOCKERFILE)[1]
    assert settings()["RUNWAY_HOME"] == home
    assert all({"name": "home", "mountPath": home} in c["volumeMounts"] for _, pod in PODS for c in containers(pod))


@each_pod
def test_it_runs_as_the_images_user_with_no_more_rights_than_it_needs(pod: Document):
    uid = int(re.search(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)[1])
    assert f"useradd --uid {uid} " in DOCKERFILE
    security = pod["spec"]["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"], security["fsGroup"]) == (True, uid, uid)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["spec"]["automountServiceAccountToken"] is False
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]} | {"home"}
    for container in containers(pod):
        own = container["securityContext"]
        assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes == {"home", "tmp"}
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


def test_who_has_a_password_needs_it():
    with_database = {name for name, pod in PODS for c in containers(pod) if "RUNWAY_DATABASE" in environ(c)}
    assert with_database == {"api", "backup"}
    assert not {name for name in settings() if "PASSWORD" in name or "USERNAME" in name or name == "RUNWAY_DATABASE"}


@pytest.mark.parametrize("name", ["ground-truth", "archive"])
def test_workers_are_static_members_by_the_pods_name(name: str):
    (worker,) = [one for one in of_kind("StatefulSet") if one["metadata"]["name"] == name]
    (container,) = containers(template(worker))
    (instance,) = [one for one in container["env"] if one["name"] == "RUNWAY_INSTANCE"]
    assert instance["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert (name == "ground-truth") == bool(worker["spec"].get("volumeClaimTemplates")), "who has a state has a volume"
    assert container["ports"] == [{"name": "web", "containerPort": Config(home=Path("/h")).web_port}]
    assert environ(container)["RUNWAY_WEB_HOST"] == "0.0.0.0", "a probe comes from outside"
    assert template(worker)["spec"]["terminationGracePeriodSeconds"] >= 60


def test_probes_ask_pages_that_there_are():
    served = {"web": (ROOT / "runway_streams/worker_web.py").read_text(), "http": (ROOT / "api/routes.py").read_text()}
    for kind in ("StatefulSet", "Deployment"):
        for document in of_kind(kind):
            (container,) = containers(template(document))
            ports = {port["name"] for port in container["ports"]}
            pages = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
            assert [page["path"] for page in pages.values()] == ["/livez", "/livez", "/readyz"]
            for page in pages.values():
                assert page["port"] in ports
                assert f'"{page["path"]}"' in served[page["port"]]
    (api,) = of_kind("Deployment")
    (container,) = containers(template(api))
    assert str(container["ports"][0]["containerPort"]) == container["args"][-1]


def matches(selector: Document, pod: Document) -> bool:
    labels = pod["metadata"]["labels"]
    listed = all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ()))
    return listed and selector.get("matchLabels", {}).items() <= labels.items()


def test_selectors_find_their_pods_and_ports():
    for document in of_kind("Service", "PodDisruptionBudget", "NetworkPolicy"):
        spec, name = document["spec"], document["metadata"]["name"]
        selector = spec.get("podSelector", spec.get("selector"))
        if document["kind"] == "Service":
            selector = {"matchLabels": selector}
        found = {owner: pod for owner, pod in PODS if matches(selector, pod)}
        assert found, name
        if document["kind"] != "NetworkPolicy":
            assert set(found) == {name}
        ports = [port["targetPort"] for port in spec.get("ports", ())]
        ports += [port["port"] for rule in spec.get("ingress", ()) for port in rule["ports"]]
        for pod in found.values() if ports else ():
            assert set(ports) <= {port["name"] for c in containers(pod) for port in c["ports"]}
    for owner in of_kind("StatefulSet", "Deployment"):
        assert matches(owner["spec"]["selector"], template(owner))
    services = {document["metadata"]["name"] for document in of_kind("Service")}
    assert {document["spec"]["serviceName"] for document in of_kind("StatefulSet")} <= services


def test_the_scaler_scales_what_there_is_by_what_is_measured():
    """The fields that KEDA's own schema of a ScaledObject demands, and what they name."""
    (scaler,) = of_kind("ScaledObject")
    assert scaler["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaler["spec"]
    fields = {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "fallback",
              "advanced", "triggers"}  # fmt: skip
    assert spec.keys() == fields
    target = spec["scaleTargetRef"]
    assert (target["kind"], target["name"]) in {(one["kind"], one["metadata"]["name"]) for one in of_kind("StatefulSet")}
    (trigger,) = spec["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes texts alone"
    assert {"serverAddress", "query", "threshold"} <= trigger["metadata"].keys()
    (metric, group) = re.search(r'(runway_\w+)\{group="([\w-]+)"\}', trigger["metadata"]["query"]).groups()
    assert group == lag.GROUND_TRUTH
    assert f'"{metric}"' in (ROOT / "runway_streams/telemetry.py").read_text()
    (topics,) = of_kind("Job")
    (container,) = containers(template(topics))
    partitions = container["args"][container["args"].index("--partitions") + 1]
    assert spec["maxReplicaCount"] == int(partitions)
    (worker,) = [one for one in of_kind("StatefulSet") if one["metadata"]["name"] == target["name"]]
    assert spec["minReplicaCount"] == worker["spec"]["replicas"]


def test_the_page_shows_what_the_secret_holds():
    page = (ROOT / "docs/kubernetes.md").read_text()
    wanted = {one["valueFrom"]["secretKeyRef"]["key"] for _, pod in PODS for c in containers(pod) for one in c["env"]
              if "secretKeyRef" in one.get("valueFrom", {})}  # fmt: skip
    assert set(re.findall(r"--from-literal=(\w+)=", page)) == wanted
    for name in re.findall(r"`(\w[\w-]*\.yaml)`", page):
        assert (FOLDER / name).exists(), name
