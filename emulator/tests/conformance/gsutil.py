"""gsutil, which speaks HTTPS only: it comes through a proxy that ends TLS, with a certificate that nobody checks."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from gcp_dicom_emulator.keyfile import keyfile, private_key
from tests.conformance.checks import PROJECT, equal, new_id, raises

#: Larger than what gsutil sends at once, and than what it sends in several parts.
SMALL, LARGE = b"small" * 8000, bytes(range(256)) * 50_000


class Gsutil:
    """Calls gsutil.

    :param folder: where its configuration is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str) -> str:
        """Return what it prints.

        :raises AssertionError: it fails.
        """
        environment = {**os.environ, "BOTO_CONFIG": str(self.folder / "boto")}
        run = subprocess.run(["gsutil", *arguments], env=environment, capture_output=True, text=True, timeout=120)
        if run.returncode:
            raise AssertionError(f"gsutil {' '.join(arguments)}: {run.stderr}")
        return run.stdout

    def file(self, data: bytes) -> str:
        """Return the path of a new file."""
        path = self.folder / new_id("file-")
        path.write_bytes(data)
        return str(path)

    def bucket(self) -> str:
        """Return the URI of a new bucket."""
        uri = f"gs://{new_id('gsutil-')}"
        self("mb", "-p", PROJECT, uri)
        return uri


def connect(url: str) -> Gsutil:
    folder = Path(tempfile.mkdtemp(prefix="gsutil-"))
    port = _proxy(url, folder)
    (folder / "key.json").write_text(json.dumps(keyfile(url, private_key())))
    (folder / "boto").write_text(
        f"[Credentials]\ngs_service_key_file={folder}/key.json\ngs_json_host=localhost\ngs_json_port={port}\n"
        "[Boto]\nhttps_validate_certificates=False\n"
        f"[GSUtil]\nstate_dir={folder}/state\ncheck_hashes=always\nparallel_composite_upload_threshold=10M\n"
        "parallel_process_count=1\n"
        f"[OAuth2]\nprovider_token_uri={url}/token\n"
    )
    return Gsutil(folder)


def _proxy(url: str, folder: Path) -> int:
    """Pass on what comes by TLS; return the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "accept-encoding")}
            forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": self.headers["Host"], "Accept-Encoding": "identity"}
            answer = requests.request(
                self.command, url + self.path, data=body, headers=headers | forwarded, allow_redirects=False, timeout=60
            )
            self.send_response(answer.status_code, answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def _certificate(folder: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def check_mb_and_rb(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    gsutil("rb", bucket)
    with raises(AssertionError):
        gsutil("ls", "-b", bucket)


def check_ls(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    gsutil("cp", gsutil.file(SMALL), f"{bucket}/a/b")
    equal(gsutil("ls", bucket).split(), [f"{bucket}/a/"])
    equal(gsutil("ls", f"{bucket}/**").split(), [f"{bucket}/a/b"])
    equal(f"{bucket}/" in gsutil("ls", "-p", PROJECT).split(), True)


def check_cp_up_and_down(gsutil: Gsutil) -> None:
    bucket, target = gsutil.bucket(), gsutil.file(b"")
    for data in (b"", SMALL):
        gsutil("cp", gsutil.file(data), f"{bucket}/a")
        gsutil("cp", f"{bucket}/a", target)
        equal(Path(target).read_bytes(), data)


def check_cp_of_a_large_file(gsutil: Gsutil) -> None:
    bucket, target = gsutil.bucket(), gsutil.file(b"")
    resumable = ["-o", "GSUtil:parallel_composite_upload_threshold=0"]
    gsutil(*resumable, "cp", gsutil.file(LARGE), f"{bucket}/a")
    gsutil("cp", f"{bucket}/a", target)
    equal(Path(target).read_bytes(), LARGE)


def check_parallel_composite_upload(gsutil: Gsutil) -> None:
    bucket, target = gsutil.bucket(), gsutil.file(b"")
    gsutil("-o", "GSUtil:parallel_composite_upload_component_size=4M", "cp", gsutil.file(LARGE), f"{bucket}/a")
    equal("Component-Count" in gsutil("stat", f"{bucket}/a"), True)
    gsutil("cp", f"{bucket}/a", target)
    equal(Path(target).read_bytes(), LARGE)
    equal(gsutil("ls", f"{bucket}/**").split(), [f"{bucket}/a"])


def check_cp_in_the_cloud(gsutil: Gsutil) -> None:
    bucket, other = gsutil.bucket(), gsutil.bucket()
    gsutil("cp", gsutil.file(SMALL), f"{bucket}/a")
    gsutil("cp", f"{bucket}/a", f"{other}/b")
    equal(gsutil("cat", f"{other}/b"), SMALL.decode())


def check_cp_of_a_folder(gsutil: Gsutil) -> None:
    bucket, folder = gsutil.bucket(), Path(tempfile.mkdtemp(dir=gsutil.folder))
    for name in ("a", "b"):
        (folder / name).write_bytes(SMALL)
    gsutil("-m", "cp", "-r", str(folder), bucket)
    equal(gsutil("ls", f"{bucket}/**").split(), [f"{bucket}/{folder.name}/{name}" for name in ("a", "b")])


def check_cat(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    gsutil("cp", gsutil.file(b"0123456789"), f"{bucket}/a")
    equal(gsutil("cat", "-r", "2-4", f"{bucket}/a"), "234")


def check_mv(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    gsutil("cp", gsutil.file(SMALL), f"{bucket}/a")
    gsutil("mv", f"{bucket}/a", f"{bucket}/b")
    equal(gsutil("ls", bucket).split(), [f"{bucket}/b"])


def check_rsync(gsutil: Gsutil) -> None:
    bucket, folder = gsutil.bucket(), Path(tempfile.mkdtemp(dir=gsutil.folder))
    (folder / "a").write_bytes(SMALL)
    (folder / "b").write_bytes(SMALL)
    gsutil("rsync", "-d", str(folder), bucket)
    (folder / "b").unlink()
    gsutil("rsync", "-d", str(folder), bucket)
    equal(gsutil("ls", bucket).split(), [f"{bucket}/a"])


def check_rm(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    for name in ("a", "b/c"):
        gsutil("cp", gsutil.file(SMALL), f"{bucket}/{name}")
    gsutil("rm", f"{bucket}/**")
    equal(gsutil("ls", bucket), "")
    gsutil("rm", "-r", bucket)


def check_stat_and_du(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    gsutil("cp", gsutil.file(SMALL), f"{bucket}/a")
    equal(f"{len(SMALL)}" in gsutil("stat", f"{bucket}/a"), True)
    equal(gsutil("du", f"{bucket}/a").split()[0], str(len(SMALL)))


def check_setmeta(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    gsutil("cp", gsutil.file(SMALL), f"{bucket}/a")
    gsutil("setmeta", "-h", "Content-Type:application/dicom", "-h", "x-goog-meta-site:b", f"{bucket}/a")
    shown = gsutil("stat", f"{bucket}/a")
    equal(("application/dicom" in shown, "site" in shown), (True, True))


def check_compose(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    for name in ("a", "b"):
        gsutil("cp", gsutil.file(name.encode()), f"{bucket}/{name}")
    gsutil("compose", f"{bucket}/a", f"{bucket}/b", f"{bucket}/c")
    equal(gsutil("cat", f"{bucket}/c"), "ab")


def check_versioning(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    gsutil("versioning", "set", "on", bucket)
    equal(gsutil("versioning", "get", bucket).split(), [f"{bucket}:", "Enabled"])
    for data in (b"1", b"2"):
        gsutil("cp", gsutil.file(data), f"{bucket}/a")
    equal([gsutil("cat", uri) for uri in gsutil("ls", "-a", f"{bucket}/a").split()], ["1", "2"])


def check_lifecycle_and_labels(gsutil: Gsutil) -> None:
    bucket = gsutil.bucket()
    gsutil("label", "ch", "-l", "site:a", bucket)
    equal(json.loads(gsutil("label", "get", bucket)), {"site": "a"})
    rule = {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]}
    gsutil("lifecycle", "set", gsutil.file(json.dumps(rule).encode()), bucket)
    equal(json.loads(gsutil("lifecycle", "get", bucket)), rule)
