"""What Ray's autoscaler sees of Kubernetes: an API with one RayCluster and its pods, and an operator that makes a pod for each replica asked for."""

from __future__ import annotations

import datetime
import http.server
import json
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME, NAMESPACE = "stockpot-soup-x1", "research"
DAY = datetime.timedelta(1)


def certificate(folder: Path) -> tuple[str, str]:
    """(certificate, key) for 127.0.0.1, which signs itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now, hosts = datetime.datetime.now(datetime.UTC), x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - DAY, now + DAY).add_extension(hosts, False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    return str(folder / "cert.pem"), str(folder / "key.pem")


class Kubernetes:
    """The RayCluster that the operator makes of a RayJob; `begin(pod name, group, limits)` starts the machine of a pod."""

    def __init__(self, job: Path, folder: Path, begin: Callable[[str, str, dict[str, Any]], None]) -> None:
        spec = yaml.safe_load(job.read_text())["spec"]["rayClusterSpec"]
        self.cluster = {"metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec}
        for group in spec["workerGroupSpecs"]:
            group["replicas"] = 0
        self.pods, self._begin = [self._pod("head", "headgroup")], begin
        self._pool, self._started = ThreadPoolExecutor(16), list[Future[None]]()
        cert, key = certificate(folder)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (Answers,), {"kubernetes": self}))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        own = {"RAY_KUBERAY_CA_CERT_PATH": cert, "RAY_KUBERAY_CLIENT_CERT_PATH": cert, "RAY_KUBERAY_CLIENT_KEY_PATH": key}
        api = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT_HTTPS": str(self._server.server_port)}
        self.environment = {**own, **api, "RAY_CLUSTER_NAME": NAME, "RAY_CLUSTER_NAMESPACE": NAMESPACE}
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _pod(self, name: str, group: str) -> dict[str, Any]:
        labels = {"ray.io/cluster": NAME, "ray.io/node-type": "head" if group == "headgroup" else "worker", "ray.io/group": group}
        running = {"containerStatuses": [{"state": {"running": {}}}], "podIP": "127.0.0.1"}
        return {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{}]}, "status": running}

    def patch(self, changes: list[dict[str, Any]]) -> None:
        """JSON Patch, as far as the autoscaler uses it; the operator sees it at once."""
        for change in changes:
            _, groups, index, field = change["path"].removeprefix("/").split("/")
            self.cluster["spec"][groups][int(index)][field] = change["value"]
        for group in self.cluster["spec"]["workerGroupSpecs"]:
            name, limits = group["groupName"], group["template"]["spec"]["containers"][0]["resources"]["requests"]
            for number in range(sum(pod["metadata"]["labels"]["ray.io/group"] == name for pod in self.pods), group["replicas"]):
                self.pods.append(self._pod(f"{name}-{number}", name))
                self._started.append(self._pool.submit(self._begin, f"{name}-{number}", name, limits))

    @property
    def replicas(self) -> list[int]:
        """What is asked for of each group of workers."""
        return [group["replicas"] for group in self.cluster["spec"]["workerGroupSpecs"]]

    def end(self) -> None:
        """Raises what went wrong with a machine."""
        self._server.shutdown()
        self._server.server_close()
        for started in self._started:
            started.result()


class Answers(http.server.BaseHTTPRequestHandler):
    kubernetes: Kubernetes

    def do_GET(self) -> None:
        below, _, _ = self.path.partition("?")
        if below == f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/{NAME}":
            self._answer(self.kubernetes.cluster)
        elif below == f"/api/v1/namespaces/{NAMESPACE}/pods":
            self._answer({"metadata": {"resourceVersion": "1"}, "items": self.kubernetes.pods})
        else:
            self.send_error(404)

    def do_PATCH(self) -> None:
        self.kubernetes.patch(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(self.kubernetes.cluster)

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return
