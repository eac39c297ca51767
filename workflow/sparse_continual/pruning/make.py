"""A model with its topology: pruned, or read from a checkpoint, then trained with the topology fixed.

One function trains after pruning: a trained model gets recovery; an initial model gets pretraining on the rows of its
dense counterpart, then recovery. At init the method only chooses: the kept weights return to their initial values, even
if the method trained them (imp: the lottery ticket, rewound to the start).
"""

from pathlib import Path

import torch

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.models.load import load_model, load_tokenizer, matrix_of, prunable, save_model
from sparse_continual.models.planned import check_counts, check_nonzeros
from sparse_continual.pruning.check import needs_text
from sparse_continual.streams.calibration import DEFAULTS, rows_of_files, rows_of_model, rows_of_split
from sparse_continual.streams.tasks import concatenate
from sparse_continual.topologies.density import ZEROS, densities_of_masks
from sparse_continual.training.loop import final, train_on_mixture
from sparse_continual.training.trainables import AllPlaces, Ends, FixedPlaces


def make_topology(
    settings: dict,
    source,
    mixture: list,
    folder,
    seed: int,
    trust_remote_code=False,
    teacher=None,
    watch=None,
    planned=None,
) -> tuple[dict, list[dict]]:
    """Make the model of a topology entity.

    settings: {topology: {method, pattern, sparsity, ...}, recovery: settings or None, pretraining: settings, only at
    init}; source: folder of the model (at init, the initial one); mixture: [(share, training Split)] of the base, []
    if it declares none; folder: output folder of model and topology file; trust_remote_code: whether to run the code
    that comes with the model; teacher: folder of the dense parent of a recovery with distillation, by default the
    source; watch: called as watch(stage, model) with the original model and after every step (pruning/measure.py);
    planned: the plan's numbers (budgets/planned.py), compared with the model and with the result.

    Returns (facts for the manifest, among them the folder of the model to use; rows of densities.csv).

    Raises UserError for a sparse checkpoint that is used as dense and the reverse, for a model whose numbers differ
    from the plan, and as `pruning.prune`.
    """
    chosen = settings["topology"]
    model = load_model(source, trust_remote_code=trust_remote_code)
    if planned:
        check_counts(source, model, planned)
    tokenizer = load_tokenizer(source, trust_remote_code)
    masks, facts = None, {"trust_remote_code": trust_remote_code}
    watch = watch or (lambda stage, model: None)
    method = registry.load("pruning.methods", chosen["method"])
    read_from_zeros = method.found
    if chosen["method"] == "dense" or read_from_zeros:
        _agree(model, source, read_from_zeros)
    else:
        _pruning().refuse_sparse(model, chosen)  # before the model writes text
    watch("base", model)
    if chosen["method"] != "dense":
        prune = _prune_initial if "pretraining" in settings else _prune
        topology = method.read(model) if read_from_zeros else prune(model, chosen, tokenizer, mixture, seed)
        watch("pruned", model)
        topology.save(Path(folder) / topology.FILE)
        masks, facts["topology"] = topology.masks, topology.sha256
        facts["record"] = topology.record
    pretraining, recovery = settings.get("pretraining"), settings["recovery"]
    if pretraining or recovery:
        linears = prunable(model)
        places = FixedPlaces(linears, masks) if masks else AllPlaces(linears)
        trained = model, places, Ends(model, linears, True), mixture
    if pretraining:  # the seed of the dense base, so that the rows are the same
        facts["pretraining"] = train_on_mixture(*trained, pretraining, seed)
        watch("trained", model)
    if recovery and "distillation" in recovery:
        parent = load_model(teacher or source, trust_remote_code=trust_remote_code)
        facts["recovery"] = _distil(trained, recovery, parent, seed_of("recovery", seed))
    elif recovery:
        facts["recovery"] = train_on_mixture(*trained, recovery, seed_of("recovery", seed))
    if recovery:
        watch("recovered", model)
    if masks:
        topology.check(model)
    if recovery or (masks and not read_from_zeros):
        save_model(model, tokenizer, Path(folder) / "model")
        facts["folder"] = Path(folder) / "model"
    else:
        facts["folder"] = source
    linears = prunable(model)
    # in a dense model a weight that happens to be zero exists like all others: it is trained with them
    exists = masks or {name: torch.ones_like(one.weight, dtype=torch.bool) for name, one in linears.items()}
    # [outputs, inputs]: N:M is counted along a row
    exists = {name: matrix_of(linears[name], mask).cpu().numpy() for name, mask in exists.items()}
    densities = densities_of_masks(exists, chosen.get("pattern", "dense"))
    if planned:
        # groups, heads and channels that are kept may lack weights that the source lacked
        lacking = bool(masks) and "absent_before" in topology.record and chosen["pattern"] != "unstructured"
        check_nonzeros(folder, sum(row["nonzeros"] for row in densities), planned["nonzeros"], lacking)
    if read_from_zeros:
        densities = [{**row, "pattern": topology.record["patterns"][row["matrix"]]} for row in densities]
    return facts, densities


def _distil(trained: tuple, recovery: dict, teacher, seed: int) -> dict:
    """Recovery with a teacher: the usual facts, the last loss terms and the tokens that the teacher read."""
    # by name, not by import: models without a teacher must not depend on its code
    module = registry.by_name("training.distillation")
    loss = module.Distillation(teacher, **recovery["distillation"])
    facts = train_on_mixture(*trained, recovery, seed, loss)
    parts = {name: final(torch.tensor([terms[name] for terms in loss.parts])) for name in loss.parts[0]}
    return {**facts, "distillation": {**parts, "teacher_tokens": facts["tokens"]}}


def _agree(model, source, sparse: bool) -> None:
    """Raise UserError for a pruned checkpoint that is used as dense, or a dense one that is used as `sparse`."""
    weights = {name: module.weight for name, module in prunable(model).items()}
    zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
    share = sum(zeros.values()) / sum(weight.numel() for weight in weights.values())
    shares = {name: zeros[name] / weight.numel() for name, weight in weights.items()}
    worst = max(shares, key=shares.get)
    zero = f"{share:.1%} of its block weights are exactly zero ({shares[worst]:.1%} of {worst})"
    if share > ZEROS and not sparse:
        raise UserError(
            f"{source}: the checkpoint is sparse itself: {zero}, and training it as dense would let these absent "
            "weights grow; expected a dense checkpoint; to take its zeros as the topology, use `method: counted`"
        )
    if share <= ZEROS and sparse:
        raise UserError(
            f"{source}: the checkpoint is not sparse: {zero}, and method counted takes the zeros of a pruned "
            f"checkpoint as its topology; expected more than {ZEROS:.0%}; choose the pruned checkpoint, or use "
            "`method: dense`"
        )


@torch.no_grad()
def _prune_initial(model, *how):
    """As `_prune`, but the kept weights get their initial values back."""
    linears = prunable(model)
    before = {name: module.weight.clone() for name, module in linears.items()}
    topology = _prune(model, *how)
    for name, weight in before.items():
        linears[name].weight.copy_(weight.masked_fill(~topology.masks[name], 0.0))
    return topology


def _pruning():
    """The code that prunes, looked up by name: dense models must not depend on it."""
    return registry.by_name("pruning.prune")


def _prune(model, chosen, tokenizer, mixture, seed):
    options = {k: v for k, v in chosen.items() if k not in ("method", "pattern", "sparsity", "calibration")}
    rows = None
    if needs_text(chosen):
        calibration = chosen.get("calibration", DEFAULTS)
        if "files" in calibration:
            rows = rows_of_files(calibration, tokenizer, seed_of("calibration", seed))
        elif not mixture:
            rows = rows_of_model(
                model, calibration["sequences"], calibration["tokens"], seed_of("calibration", seed)
            )
        else:
            read = concatenate([split for _, split in mixture])
            rows = rows_of_split(read, calibration["sequences"], seed_of("calibration", seed))
    rows = rows if rows is None else list(rows)  # a list, so that generated text is not checked for padding
    return _pruning().prune(
        model, chosen["method"], chosen["pattern"], chosen.get("sparsity"), rows, seed, **options
    )
