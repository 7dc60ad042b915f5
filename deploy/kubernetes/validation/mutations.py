"""Broken copies that the validator has to refuse, one for each thing it looks at. A validator that takes them is broken itself."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutation:
    """`old`, which stands once in `file`, becomes `new`; the problem has to have `words`."""

    file: str
    old: str
    new: str
    words: str

    def apply(self, files: dict[str, str]) -> dict[str, str] | None:
        if files[self.file].count(self.old) != 1:
            return None
        return {**files, self.file: files[self.file].replace(self.old, self.new)}

    def __str__(self) -> str:
        return f"{self.file}: {' '.join(self.old.split())} -> {' '.join(self.new.split()) or 'nothing'}"


ALL = [
    # Schemas.
    Mutation("service.yaml", "replicas: 1", "replica: 1", "'replica' was unexpected"),
    Mutation("service.yaml", "replicas: 1", 'replicas: "1"', "is not of type 'integer'"),
    Mutation("service.yaml", "kind: PersistentVolumeClaim", "kind: PersistentVolumeClame", "Couldn't find schema"),
    Mutation("service.yaml", "apiVersion: apps/v1", "apiVersion: apps/v1beta1", "Couldn't find schema"),
    Mutation("agent.yaml", "hostNetwork: true", "hostNetworking: true", "'hostNetworking' was unexpected"),
    Mutation("agent.yaml", "hostPort: 80", 'hostPort: "80"', "is not of type 'integer'"),
    Mutation("certification-job.yaml", "backoffLimit: 3", "backOffLimit: 3", "'backOffLimit' was unexpected"),
    Mutation("agent-device.patch.yaml", "privileged: true", "privilege: true", "'privilege' was unexpected"),
    Mutation("agent-device.patch.yaml", "containers/0/args", "containers/1/args", "cannot be applied"),
    Mutation("service.yaml", "replicas: 1", "replicas: 1\n  replicas: 2", "stands twice"),
    Mutation("service.yaml", "replicas: 1", "replicas: [1", "not parsed"),
    Mutation("thim.toml", "[http]", "[http", "not parsed"),
    # The Job.
    Mutation("certification-job.yaml", "image: alpine/curl", "image: curlimages/curl", "the Job's image"),
    Mutation("certification-job.yaml", '"Metadata:true"', '"Metadata: true"', "the Job's args"),
    Mutation("certification-job.yaml", "/THIM/", "/thim/", "the Job's args"),
    Mutation("certification-job.yaml", "          args:", "          command: [curl]\n          args:", "the Job's args"),
    Mutation("certification-job.yaml", "snp.enabled", "es.enabled", "its nodeSelector"),
    # Files.
    Mutation("kustomization.yaml", "  - service.yaml\n", "", "does not name ['service.yaml']"),
    Mutation("kustomization.yaml", "  - service.yaml", "  - service.yaml\n  - services.yaml", "which are not there"),
    Mutation("kustomization.yaml", "  - name: thim\n    newName", "  - name: tihm\n    newName", "stands for the images"),
    Mutation("kustomization.yaml", "#       name: thim-agent", "#       name: agent", "switch the patch on"),
    Mutation("agent-device.toml", "thim.thim.svc", "other.thim.svc", "differ in more than [host]"),
    Mutation("agent-device.toml", '"device"', '"file"', "is not the device"),
    # One file beside another.
    Mutation("namespaces.yaml", "name: thim-node", "name: thim-nodes", "there is no namespace thim-node"),
    Mutation("service.yaml", "      labels:\n        app.kubernetes.io/name: thim\n", "      labels:\n        app.kubernetes.io/name: tihm\n", "its selector"),
    Mutation("service.yaml", "  selector:\n    app.kubernetes.io/name: thim\n", "  selector:\n    app.kubernetes.io/name: tihm\n", "Service thim: its selector meets no pod"),
    Mutation("service.yaml", "  podSelector:\n    matchLabels:\n      app.kubernetes.io/name: thim\n", "  podSelector:\n    matchLabels:\n      app.kubernetes.io/name: tihm\n", "NetworkPolicy thim: its selector meets no pod"),
    Mutation("service.yaml", "claimName: thim-data", "claimName: data", "no PersistentVolumeClaim data"),
    Mutation("agent.yaml", "            name: thim-agent", "            name: thim", "no ConfigMap thim"),
    Mutation("agent.yaml", "agent-address.sh]", "address.sh]", "is not in the ConfigMap"),
    Mutation("agent-device.patch.yaml", "agent-device.toml", "device.toml", "is not in the ConfigMap"),
    Mutation("agent-device.patch.yaml", "    name: sev\n    mountPath", "    name: dev\n    mountPath", "mounted"),
    # Privileges.
    Mutation("agent.yaml", "add: [NET_BIND_SERVICE]", "add: [NET_BIND_SERVICE, NET_RAW]", "its capabilities"),
    Mutation("agent.yaml", "add: [NET_ADMIN]", "add: [SYS_ADMIN]", "its capabilities"),
    Mutation("agent.yaml", "            runAsNonRoot: true\n            runAsUser: 65532\n", "            runAsUser: 0\n", "it runs as root"),
    Mutation("service.yaml", "            readOnlyRootFilesystem: true\n", "", "write its own files"),
    Mutation("service.yaml", "allowPrivilegeEscalation: false", "privileged: true", "may gain privileges"),
    Mutation("service.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "a token of the cluster's API"),
    Mutation("service.yaml", "type: RuntimeDefault", "type: Unconfined", "seccomp is off"),
    Mutation("service.yaml", "memory: 512Mi", "cpu: 4", "no limit of memory"),
    # Ports and paths.
    Mutation("thim.toml", "0.0.0.0:8080", "0.0.0.0:8008", "thim.toml listens on"),
    Mutation("service.yaml", "targetPort: https", "targetPort: tls", "the Service offers"),
    Mutation("service.yaml", "          port: 8081", "          port: 8443", "the NetworkPolicy lets in"),
    Mutation("thim.toml", "/var/lib/thim", "/var/thim", "on no volume"),
    Mutation("agent.yaml", "hostIP: 169.254.169.254", "hostIP: 169.254.169.253", "agent.toml listens on"),
    Mutation("agent.toml", "127.0.0.1:8170", "127.0.0.1:8171", "differ in more than [host]"),
    Mutation("service.yaml", "path: /healthz/startup", "path: /healthz/started", "which the program does not answer"),
    Mutation("agent.yaml", "path: /healthz/ready\n              port: 8170", "path: /healthz/ready\n              port: 8171", "the program listens on"),
    Mutation("agent.yaml", "              host: 127.0.0.1\n              path: /healthz/ready", "              path: /healthz/ready", "the program listens on"),
]
