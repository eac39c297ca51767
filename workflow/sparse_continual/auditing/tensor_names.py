"""Compare the tensors of a checkpoint with those of the model that its config.json names.

transformers builds the model on the meta device and gets tensors with the checkpoint's names and shapes, without
values. So older names, and experts that are stored one by one, find their places as they do when weights are loaded.
"""

from contextlib import contextmanager
from dataclasses import replace

from sparse_continual.auditing import activation
from sparse_continual.models.checkpoint import BLOCKS, by
from sparse_continual.models.reader import OF_QUANTISATION
from sparse_continual.topologies import file as topology_file

NO_WEIGHT = (*OF_QUANTISATION, "rotary_emb.inv_freq")  # ends of names; such tensors are never surplus
JOINING = "conversion of the weights"  # part of transformers' error when tensors do not fit together


def held_against(config: dict, shapes: dict) -> dict | None:
    """Compare tensors, name -> shape, with the class of transformers that a parsed config.json names.

    Returns {"model": name of the class, "missing": names that it needs, "surplus": names without a place, "misshapen":
    name and shape of tensors that it needs in another shape, "unjoined": whether tensors that it joins into one do not
    fit together, as when an expert is missing (then the rest is empty)}, names sorted. None if transformers has no such
    class, or cannot build it. A weight that is tied to another is not missing.
    """
    import torch

    named, maker, model_config = _named(config)
    if maker is None:
        return None
    tensors = {
        name: torch.empty(shape, device="meta")
        for name, shape in shapes.items()
        if not name.endswith(NO_WEIGHT)
    }
    mismatches, unjoined = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}, False
    try:
        with _quiet():
            _, mismatches = maker.from_pretrained(
                None,
                config=model_config,
                state_dict=tensors,
                device_map="meta",
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # the constructor can raise anything
        unjoined = JOINING in str(error)
        if not unjoined:
            return None
    return {
        "model": named,
        "missing": sorted(mismatches["missing_keys"]),
        "surplus": sorted(mismatches["unexpected_keys"]),
        "misshapen": sorted(
            f"{name} ({by(is_)}, expected {by(should)})"
            for name, is_, should in mismatches["mismatched_keys"]
        ),
        "unjoined": unjoined,
    }


def as_stored(config: dict, file: topology_file.Bits, shapes: dict) -> topology_file.Bits:
    """A topology `file`, which has the names of the model's parameters, under the names of the checkpoint's tensors
    (name -> shape): transformers stores some under other names, and experts of one parameter one by one.

    Unchanged if all its names are those of tensors, if transformers cannot build the model of the parsed config.json,
    or if the checkpoint stores several of its matrices as one.
    """
    if file.shapes.keys() <= shapes.keys():
        return file
    import torch
    from transformers.core_model_loading import revert_weight_conversion

    _, maker, model_config = _named(config)
    if maker is None:
        return file
    try:
        with torch.device("meta"):
            model = maker(model_config)
    except Exception:  # the constructor can raise anything
        return file
    renamed = replace(file, shapes={}, bits={})
    for name in file.shapes:  # one at a time: bools take eight times the memory of bits
        stored = {name: torch.from_numpy(file.mask(name))}
        for other, mask in (stored if name in shapes else revert_weight_conversion(model, stored)).items():
            if other in renamed.shapes:
                return file
            renamed.shapes[other], renamed.bits[other] = tuple(mask.shape), topology_file.pack(mask.numpy())
    return renamed


def _named(config: dict) -> tuple:
    """(name of the class that a parsed config.json names, the class, its config); the latter two are None if
    transformers lacks it."""
    model_config, _ = activation.config_class(
        {key: value for key, value in config.items() if key not in BLOCKS}, whole=True
    )
    named = config.get("architectures")
    named = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
    return named, None if model_config is None else _class(named, type(model_config)), model_config


def _class(name: str, kind):
    """The model of transformers called `name` whose config is a `kind`, or None."""
    import transformers

    try:
        maker = getattr(transformers, name, None)
    except ImportError:  # the class needs a library that is not installed
        return None
    model = isinstance(maker, type) and issubclass(maker, transformers.PreTrainedModel)
    return maker if model and maker.config_class is kind else None


@contextmanager
def _quiet():
    """Without transformers' progress bars and table: the report has their content."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
