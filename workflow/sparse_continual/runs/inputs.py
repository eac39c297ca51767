"""The folders that an arm starts from, read from the manifests of its inputs."""

from pathlib import Path

from sparse_continual.integrity import read_manifest


def located(base, stream, like=None) -> dict:
    """{model, trust_remote_code, topology, like, stream}: folders of the arm's base, of the topology whose places a
    dense arm writes (None: all), and of the stream's tasks. Arguments: manifests."""
    manifest = read_manifest(base)
    return {
        "model": manifest["folder"],
        "trust_remote_code": manifest["trust_remote_code"],
        "topology": Path(base).parent,
        "like": like and Path(like).parent,
        "stream": read_manifest(stream)["folder"],
    }
