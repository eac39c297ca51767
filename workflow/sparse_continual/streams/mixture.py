"""Load a base's own mixture, which the streams' stage built, for training."""

from sparse_continual.integrity import read_manifest
from sparse_continual.streams.tasks import Split, load_tasks


def load_mixture(manifest) -> list[tuple[float, Split]]:
    """[(share, training Split)] of the mixture at `manifest`; [] for None, if a base declares none."""
    if manifest is None:
        return []
    content = read_manifest(manifest)
    return [
        (share, task.train)
        for share, task in zip(content["shares"], load_tasks(content["folder"]), strict=True)
    ]
