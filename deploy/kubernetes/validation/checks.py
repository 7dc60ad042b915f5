"""What has to hold for the manifests. All of it works on texts in memory, so that broken copies are cheap.

Schemas are those of `kubernetes-validate`, in their strict form: an unknown field is an error. They say nothing of whether one
file fits another, and that is most of what goes wrong; the functions below say it.
"""

import copy
import dataclasses
import pathlib
import re
import tomllib

import kubernetes_validate
import yaml

# The newest whose schemas the pinned kubernetes-validate has.
KUBERNETES = "1.37"

SUFFIXES = {".yaml", ".toml", ".sh"}
KUSTOMIZATION = "kustomization.yaml"
PATCH = "agent-device.patch.yaml"
# Run by hand: kustomization.yaml leaves it out.
JOB = "certification-job.yaml"

# The documented check of a node: image and arguments stay as people know them, word for word.
JOB_IMAGE = "alpine/curl"
JOB_ARGS = ["-H", "Metadata:true", "http://169.254.169.254/metadata/THIM/amd/certification"]

# What each container may add to no capability at all.
CAPABILITIES = {"address": {"NET_ADMIN"}, "folders": {"CHOWN"}, "agent": {"NET_BIND_SERVICE"}, "thim": set(), "curl": set()}
# The two that prepare the node for the agent and end.
ROOT = {"address", "folders"}


class Strict(yaml.SafeLoader):
    """YAML that refuses a key given twice; PyYAML takes the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


@dataclasses.dataclass
class Sources:
    """The paths of health that the programs answer, read from their code."""

    service: set[str]
    agent: set[str] | None

    @classmethod
    def read(cls, checkout: pathlib.Path):
        def paths(folder: pathlib.Path) -> set[str]:
            return {path for file in folder.rglob("*.rs") for path in re.findall(r'"(/healthz/\w+)"', file.read_text())}

        agent = checkout / "crates/thim-agent/src"
        return cls(paths(checkout / "crates/thim-server/src"), paths(agent) if agent.is_dir() else None)


def examine(files: dict[str, str], sources: Sources) -> tuple[list[str], list[str]]:
    """What was looked at, and what is wrong."""
    seen: list[str] = []
    problems: list[str] = []
    try:
        parsed = {name: list(yaml.load_all(text, Loader=Strict)) for name, text in files.items() if name.endswith(".yaml")}
        tables = {name: tomllib.loads(text) for name, text in files.items() if name.endswith(".toml")}
    except (yaml.YAMLError, tomllib.TOMLDecodeError) as error:
        return seen, [f"not parsed: {error}"]

    objects = [(name, each) for name, documents in parsed.items() if name not in {KUSTOMIZATION, PATCH} for each in documents]
    objects += [(KUSTOMIZATION, each) for each in generated(parsed[KUSTOMIZATION][0], files)]
    agent = next(each for _, each in objects if each["kind"] == "DaemonSet")
    try:
        objects.append((PATCH, patched(agent, parsed[PATCH][0])))
    except (KeyError, IndexError, ValueError, TypeError) as error:
        problems.append(f"{PATCH}: cannot be applied to the DaemonSet: {error!r}")

    for name, each in objects:
        title = f"{name}: {each.get('kind')} {each.get('metadata', {}).get('name')}"
        fault = schema_fault(each)
        if fault:
            problems.append(f"{title}: {fault}")
        else:
            seen.append(title)
    # What does not have the right shape cannot be asked further.
    if problems:
        return seen, problems

    plain = [each for name, each in objects if name != PATCH]
    for title, fault in [
        ("kustomization.yaml names every file", files_fault(parsed[KUSTOMIZATION][0], files)),
        ("the Job is the documented one", job_fault(only(plain, "Job"))),
        ("selectors meet labels, namespaces and claims exist", references_fault([each for _, each in objects])),
        ("volumes, ConfigMaps and mounts meet", volumes_fault([each for _, each in objects])),
        ("no container may do more than it must", privileges_fault(plain)),
        ("ports and addresses agree with the TOML", ports_fault(plain, tables)),
        ("probes ask paths that the programs answer", probes_fault(plain, tables, sources)),
        ("agent-device.toml is agent.toml but for [host]", device_fault(tables)),
    ]:
        if fault:
            problems.append(fault)
        else:
            seen.append(title)
    return seen, problems


def schema_fault(each: dict) -> str | None:
    try:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message
    return None


def generated(kustomization: dict, files: dict[str, str]) -> list[dict]:
    """The ConfigMaps that kustomize makes, without the hashes in their names."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": each["name"], "namespace": each["namespace"]},
            "data": {file: files.get(file) for file in each["files"]},
        }
        for each in kustomization["configMapGenerator"]
    ]


def patched(target: dict, patch: list[dict]) -> dict:
    """JSON Patch (RFC 6902), as far as the patch needs it."""
    result = copy.deepcopy(target)
    for step in patch:
        *way, last = step["path"].strip("/").split("/")
        place = result
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if step["op"] == "add" and last == "-":
            place.append(step["value"])
        elif step["op"] == "replace":
            place[last]  # it has to be there
            place[last] = step["value"]
        else:
            raise ValueError(f"no such step here: {step['op']} {step['path']}")
    return result


def with_patch(kustomization: str) -> str:
    """kustomization.yaml with its last lines switched on, as its comment tells people to."""
    head, mark, tail = kustomization.partition("# patches:\n")
    return head + "\n".join(line.removeprefix("# ") for line in (mark + tail).splitlines()) + "\n"


def rendered(text: str) -> list[str]:
    """What is wrong with kustomize's output."""
    objects = [each for each in yaml.load_all(text, Loader=Strict) if each]
    faults = [fault for each in objects if (fault := schema_fault(each))]
    if "VERSION" in "".join(container["image"] for each in objects for container in containers(each)):
        faults.append("an image's placeholder is left")
    fault = volumes_fault(objects)
    return faults + ([fault] if fault else [])


def files_fault(kustomization: dict, files: dict[str, str]) -> str | None:
    listed = set(kustomization["resources"]) | {file for each in kustomization["configMapGenerator"] for file in each["files"]}
    apart = {KUSTOMIZATION, PATCH, JOB}
    if unlisted := set(files) - listed - apart:
        return f"kustomization.yaml does not name {sorted(unlisted)}"
    if absent := listed - set(files):
        return f"kustomization.yaml names {sorted(absent)}, which are not there"
    images = {each["name"] for each in kustomization["images"]}
    if images != {"thim", "thim-agent"}:
        return f"kustomization.yaml stands for the images {sorted(images)}"
    if not with_patch(files[KUSTOMIZATION]).rstrip().endswith("name: thim-agent"):
        return "kustomization.yaml: the lines that switch the patch on are not its last"
    return None


def job_fault(job: dict) -> str | None:
    container = job["spec"]["template"]["spec"]["containers"][0]
    if container["image"] != JOB_IMAGE:
        return f"the Job's image is {container['image']}, not {JOB_IMAGE}"
    if container["args"] != JOB_ARGS or "command" in container:
        return f"the Job's args are {container['args']}, not {JOB_ARGS}"
    return None


def references_fault(objects: list[dict]) -> str | None:
    namespaces = {each["metadata"]["name"] for each in objects if each["kind"] == "Namespace"}
    pods = [(each["metadata"]["namespace"], each["spec"]["template"]["metadata"]["labels"]) for each in objects if template(each)]
    for each in objects:
        title = f"{each['kind']} {each['metadata']['name']}"
        namespace = each["metadata"].get("namespace")
        if each["kind"] != "Namespace" and namespace not in namespaces:
            return f"{title}: there is no namespace {namespace}"
        spec = each.get("spec", {})
        if each["kind"] in {"DaemonSet", "Deployment"}:
            wanted = spec["selector"]["matchLabels"]
            if not wanted.items() <= spec["template"]["metadata"]["labels"].items():
                return f"{title}: its selector does not meet its pods' labels"
        if each["kind"] in {"NetworkPolicy", "Service"}:
            wanted = spec["selector"] if each["kind"] == "Service" else spec["podSelector"]["matchLabels"]
            if not any(place == namespace and wanted.items() <= labels.items() for place, labels in pods):
                return f"{title}: its selector meets no pod"
    if only(objects, "Job")["spec"]["template"]["spec"]["nodeSelector"] != only(objects, "DaemonSet")["spec"]["template"]["spec"]["nodeSelector"]:
        return "Job: its nodeSelector is not the agent's"
    return None


def volumes_fault(objects: list[dict]) -> str | None:
    known = {(each["metadata"]["namespace"], each["kind"], each["metadata"]["name"]): each for each in objects if "namespace" in each["metadata"]}
    for each in objects:
        pod = template(each)
        if not pod:
            continue
        title = f"{each['kind']} {each['metadata']['name']}"
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        mounted = {mount["name"] for container in containers(each) for mount in container.get("volumeMounts", [])}
        if mounted != set(volumes):
            return f"{title}: volumes {sorted(volumes)}, mounted {sorted(mounted)}"
        for volume in volumes.values():
            for field, key, kind in [("configMap", "name", "ConfigMap"), ("persistentVolumeClaim", "claimName", "PersistentVolumeClaim")]:
                if field in volume and (each["metadata"]["namespace"], kind, volume[field][key]) not in known:
                    return f"{title}: there is no {kind} {volume[field][key]}"
        for container in containers(each):
            for mount in container.get("volumeMounts", []):
                if "configMap" not in volumes[mount["name"]]:
                    continue
                data = known[(each["metadata"]["namespace"], "ConfigMap", volumes[mount["name"]]["configMap"]["name"])]["data"]
                for word in container.get("command", []) + container.get("args", []):
                    if word.startswith(mount["mountPath"] + "/") and word.removeprefix(mount["mountPath"] + "/") not in data:
                        return f"{title}: {word} is not in the ConfigMap"
    return None


def privileges_fault(objects: list[dict]) -> str | None:
    for each in objects:
        pod = template(each)
        if not pod:
            continue
        if pod.get("automountServiceAccountToken") is not False:
            return f"{each['kind']}: its pods get a token of the cluster's API"
        if pod.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
            return f"{each['kind']}: seccomp is off"
        for container in containers(each):
            title = f"{each['kind']}, container {container['name']}"
            own = container.get("securityContext", {})
            capabilities = own.get("capabilities", {})
            if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False or own.get("readOnlyRootFilesystem") is not True:
                return f"{title}: it may gain privileges, or write its own files"
            if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) != CAPABILITIES[container["name"]]:
                return f"{title}: its capabilities are {capabilities}"
            user = {**pod["securityContext"], **own}
            if container["name"] not in ROOT and not (user.get("runAsNonRoot") is True and user.get("runAsUser", 0) > 0):
                return f"{title}: it runs as root"
            if "memory" not in container.get("resources", {}).get("limits", {}):
                return f"{title}: it has no limit of memory"
    return None


def ports_fault(objects: list[dict], tables: dict[str, dict]) -> str | None:
    thim, agent = tables["thim.toml"], tables["agent.toml"]
    deployment, service, policy = only(objects, "Deployment"), only(objects, "Service"), only(objects, "NetworkPolicy")
    named = {port["name"]: port["containerPort"] for port in containers(deployment)[0]["ports"]}
    listens = {name: int(thim[name]["listen"].rpartition(":")[2]) for name in ("http", "https")}
    if named != listens:
        return f"thim.toml listens on {listens}, the Deployment says {named}"
    offered = {port["name"]: (port["port"], port["targetPort"]) for port in service["spec"]["ports"]}
    if offered != {name: (port, name) for name, port in named.items()}:
        return f"the Service offers {offered}, the Deployment has {named}"
    allowed = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    if allowed != set(named.values()):
        return f"the NetworkPolicy lets in {sorted(allowed)}, the Deployment has {named}"
    url = f"http://{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{named['http']}"
    if agent["service"]["url"] != url:
        return f"agent.toml asks {agent['service']['url']}, the Service is {url}"

    daemon = only(objects, "DaemonSet")
    port = next(each for each in containers(daemon) if each["name"] == "agent")["ports"][0]
    if agent["http"]["listen"] != f"{port['hostIP']}:{port['hostPort']}" or port["hostPort"] != port["containerPort"]:
        return f"agent.toml listens on {agent['http']['listen']}, the DaemonSet says {port}"
    if JOB_ARGS[-1].split("/")[2] != port["hostIP"]:
        return f"the Job asks another address than {port['hostIP']}"
    for name, data, objects_of in [("thim.toml", thim["data"], deployment), ("agent.toml", agent["data"], daemon)]:
        mounts = [mount for container in containers(objects_of) for mount in container["volumeMounts"] if not mount.get("readOnly")]
        if not any(f"{data}/".startswith(f"{mount['mountPath']}/") for mount in mounts):
            return f"{name}: {data} is on no volume that can be written"
    return None


def probes_fault(objects: list[dict], tables: dict[str, dict], sources: Sources) -> str | None:
    host, _, port = tables["agent.toml"]["health"]["listen"].rpartition(":")
    # The agent's paths count from its code once that is there; until then from what was agreed.
    agent = sources.agent or {"/healthz/live", "/healthz/ready"}
    for kind, paths, wanted in [("Deployment", sources.service, (None, "http")), ("DaemonSet", agent, (host, int(port)))]:
        main = only(objects, kind)["spec"]["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            get = main.get(probe, {}).get("httpGet")
            if get is None:
                return f"{kind}: no {probe}"
            if get["path"] not in paths:
                return f"{kind}: {probe} asks {get['path']}, which the program does not answer"
            if (get.get("host"), get["port"]) != wanted:
                return f"{kind}: {probe} asks {get.get('host')}:{get['port']}, the program listens on {wanted}"
    return None


def device_fault(tables: dict[str, dict]) -> str | None:
    def rest(name):
        return {key: value for key, value in tables[name].items() if key != "host"}

    if rest("agent.toml") != rest("agent-device.toml"):
        return "agent-device.toml and agent.toml differ in more than [host]"
    if tables["agent-device.toml"]["host"] != {"source": "device"}:
        return "agent-device.toml: [host] is not the device"
    return None


def template(each: dict) -> dict:
    """The pods that an object makes, or nothing."""
    return each.get("spec", {}).get("template", {}).get("spec", {})


def containers(each: dict) -> list[dict]:
    pod = template(each)
    return pod.get("initContainers", []) + pod.get("containers", [])


def only(objects: list[dict], kind: str) -> dict:
    """The first of its kind: there is one of each that is asked for."""
    return next(each for each in objects if each["kind"] == kind)
