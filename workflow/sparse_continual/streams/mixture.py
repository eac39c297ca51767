"""A base's own mixture, built by the streams' stage, as what the base is trained on."""

from sparse_continual.integrity import read_manifest
from sparse_continual.streams.tasks import Split, load_tasks


def load_mixture(manifest) -> list[tuple[float, Split]]:
    """[(share, training Split)] of the mixture at `manifest`; [] for None, where a base declares none."""
    if manifest is None:
        return []
    made = read_manifest(manifest)
    return [
        (share, task.train) for share, task in zip(made["shares"], load_tasks(made["folder"]), strict=True)
    ]
