"""A model in a folder on this machine, in Hugging Face format: config.json, safetensors, tokenizer.

The folder is used in place and never written to. Every start checks its names, sizes and headers; loading it once
checks the rest. Every block starts from this one model, so blocks replicate streams and not models: results hold for
this checkpoint.

Cost: one load, and once per config.json some seconds to count its model. Limits: only safetensors; decoders of text
that transformers knows, without experts; weights stored plainly, as bits and values (`sparse-bitmask`,
`sparse-24-bitmask`), or as float8 with one scale per matrix or row, which are multiplied; no pruned checkpoint for the
method `dense`.
"""

from pathlib import Path

from sparse_continual.bases.facts import facts_of
from sparse_continual.bases.source import Source
from sparse_continual.files import given_path
from sparse_continual.models.checkpoint import check_checkpoint, fingerprint_of
from sparse_continual.models.shape import shape_of

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path"],
    "properties": {
        "path": {
            "type": "string",
            "minLength": 1,
            "description": "Folder of the checkpoint; relative to the working directory; ~ is the home.",
        }
    },
}


def check(settings) -> None:
    """Raise UserError for every mistake in the folder's names, sizes and headers."""
    check_checkpoint(_folder(settings))


def fingerprint(settings) -> dict[str, str]:
    """File name -> digest of the files of a checked checkpoint, part of the base's identity."""
    return fingerprint_of(_folder(settings))


def shape(settings, lengths=()) -> dict:
    """Shape settings of the checkpoint, counted on its config.json's model, with FLOPs of rows of these `lengths`."""
    return shape_of(_folder(settings), lengths=lengths)


def obtain(settings, seed, folder, mixture) -> dict:
    """Load the checkpoint once and return the facts of `facts_of`; the other arguments are not used."""
    return facts_of(_folder(settings))


def _folder(settings) -> Path:
    return given_path(settings["path"])


SOURCE = Source(check=check, fingerprint=fingerprint, shape=shape, obtain=obtain)
