"""Fetch ONNX Runtime Web for the page: `python tools/vendor_onnxruntime_web.py [VERSION]`, with npm.

Without a version the recorded one is fetched again and must have the recorded hashes; with one the record is renewed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from importlib.resources import files
from pathlib import Path

VENDOR = Path(__file__).parent.parent / "secam_onnx" / "page" / "vendor"
RECORD = VENDOR / "vendored.json"
# `.js`, since some web servers do not know what `.mjs` is; packed, since most do not pack what they send.
FILES = {"ort.js": "ort.wasm.bundle.min.mjs", "ort.wasm.gz": "ort-wasm-simd-threaded.wasm"}
LICENCES = ("LICENSE", "ThirdPartyNotices.txt")  # npm's package has none, the Python package of the same source has


def fetched(version: str) -> tuple[str, dict[str, bytes]]:
    """The package's SHA-256 and what `FILES` names."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"onnxruntime-web@{version}"]
        name = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
        package = Path(folder, name)
        with tarfile.open(package) as archive:
            members = {name: archive.extractfile(f"package/dist/{source}") for name, source in FILES.items()}
            found = {name: member.read() for name, member in members.items() if member is not None}
        return hashlib.sha256(package.read_bytes()).hexdigest(), found


def main() -> None:
    """Write the files and their record."""
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    version = sys.argv[1] if len(sys.argv) > 1 else known["version"]
    package, found = fetched(version)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    record = {"package": "onnxruntime-web", "version": version, "package_sha256": package, "unpacked_sha256": hashes}
    if version == known.get("version") and record != known:
        sys.exit(f"onnxruntime-web {version} is not what was recorded: {json.dumps(record, indent=1)}")
    for name, content in found.items():
        packed = gzip.compress(content, mtime=0) if name.endswith(".gz") else content
        (VENDOR / name).write_bytes(packed)
    for name in LICENCES:
        (VENDOR / name).write_bytes(files("onnxruntime").joinpath(name).read_bytes())
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
