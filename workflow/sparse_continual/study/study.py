"""A checked config, resolved: every result that a study needs, its inputs and its place.

A result is an `Entity`. Its folder is named by a digest over its settings and over the digests of its inputs, never
over code, so studies share equal results and never overwrite each other. All of this is known from the config (and from
digests of the files that it names) before anything is made.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path

from sparse_continual import registry, tables
from sparse_continual.budgets.demand import lengths
from sparse_continual.budgets.shapes import control
from sparse_continual.errors import UserError
from sparse_continual.files import digest_of_given, given_path
from sparse_continual.identity import canonical, seed_of, sha256
from sparse_continual.integrity import MANIFEST, STORE
from sparse_continual.pruning.check import check as check_topology
from sparse_continual.pruning.check import is_found, needs_text
from sparse_continual.pruning.tables import MEASURED
from sparse_continual.runs.tables import SECONDARY
from sparse_continual.streams.orders import PILOT, TUNING, order_of_block
from sparse_continual.study.names import naming
from sparse_continual.training.arithmetic import Shape, head_share, parameters
from sparse_continual.verdicts.claims import load as load_claims

ROOT = Path(__file__).resolve().parents[3]  # the checkout, with Snakefile, config.yaml and claims files


@dataclass(frozen=True)
class Entity:
    """One result: its stage, its label, its canonical settings, and its inputs by role."""

    stage: str
    label: str
    settings: dict
    inputs: dict = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over the settings that differ from their defaults, and the inputs' digests."""
        inputs = {role: [e.digest for e in _as_list(entities)] for role, entities in self.inputs.items()}
        settings = naming(self.stage, self.settings)
        return sha256({"stage": self.stage, "settings": settings, "inputs": inputs})

    @property
    def name(self) -> str:
        """`label-digest8`: the folder's name."""
        return f"{self.label}-{self.digest[:8]}"

    @property
    def path(self) -> str:
        """The folder."""
        return f"{STORE}/{self.stage}/{self.name}"

    @property
    def manifest(self) -> str:
        """The file that is written last, when the folder is complete; later rules have it as their input."""
        return f"{self.path}/{MANIFEST}"


@dataclass(frozen=True)
class Run:
    """One cell of the design: a condition on a block, its task order, its run and its scores."""

    condition: str
    block: str
    order: list
    run: Entity
    score: Entity


def _as_list(entities) -> list:
    return entities if isinstance(entities, list) else [entities]


def _once(method):
    """Cache the results of `method` by its arguments: every rule asks for the same entities again."""

    @wraps(method)
    def cached(self, *arguments):
        key = (method.__name__, *arguments)
        if key not in self._cache:
            self._cache[key] = method(self, *arguments)
        return self._cache[key]

    return cached


class Study:
    """The study of a checked config (`config.checked`).

    Raises UserError for mistakes in the combination of parts: sources that refuse their settings, a pattern that does
    not fit a model, a matched control that does not exist, fewer tasks than the metrics need.
    """

    def __init__(self, config: dict):
        self.config, self.study = config, config["study"]
        self.name, self.seed = self.study["name"], self.study["seed"]
        self.streams, self.conditions = self.study["streams"], self.study["conditions"]
        self.contrasts = self.study["contrasts"]
        self.claims = self._claims()
        prefix = PILOT if self.study["phase"] == "pilot" else ""
        self.blocks = [f"{prefix}{number}" for number in range(1, self.study["blocks"] + 1)]
        self.tuning_blocks = [f"{TUNING}{number}" for number in range(1, self.study["tuning"]["blocks"] + 1)]
        self._entities: dict = {}
        self._cache: dict = {}
        self._file_digests: dict = {}
        self._check()

    def _claims(self) -> list[dict]:
        if "claims" not in self.study:
            return []
        return load_claims(ROOT / given_path(self.study["claims"]), self.study, registry.names("figures"))

    def get(self, stage: str, name: str) -> Entity:
        """The entity of that stage and folder name, among those that this study needs."""
        self._all  # noqa: B018 - makes every entity once
        return self._entities[stage, name]

    def entities(self) -> list[Entity]:
        """Every entity that this study needs."""
        self._all  # noqa: B018 - makes every entity once
        return list(self._entities.values())

    @cached_property
    def _all(self):
        return [(self.trained(stream), self.secondary(stream)) for stream in self.streams]

    def _entity(self, stage, label, settings, **inputs) -> Entity:
        inputs = {role: entities for role, entities in inputs.items() if entities}
        entity = Entity(stage, label, canonical(settings), inputs)
        existing = self._entities.setdefault((stage, entity.name), entity)
        if existing.digest != entity.digest:
            raise AssertionError(f"{entity.path}: two entities of one name; change study.seed")
        return existing

    # conditions

    def condition(self, name: str) -> dict:
        """The condition's section of the config."""
        return self.config["conditions"][name]

    def base(self, condition: str) -> dict:
        """The section of the condition's base."""
        return self.config["bases"][self.condition(condition)["base"]]

    def generated(self, condition: str) -> bool:
        """Whether every block pretrains a base of its own."""
        return self.source(self.condition(condition)["base"]).generated

    def source(self, base: str):
        """The `bases.source.Source` of a base."""
        return registry.load("bases.sources", self.config["bases"][base]["source"])

    def fetched(self, base: str) -> bool:
        """Whether a base of the study is a download."""
        return self.source(base).downloads is not None

    def downloads(self, base: str) -> list[dict]:
        """The downloads of a base of the study, and whether they are in the cache: {repo, revision, ...}; else []."""
        return self.source(base).downloads(self.config["bases"][base]) if self.fetched(base) else []

    def published(self) -> dict[str, dict]:
        """base -> the declarations of the registry of published checkpoints, for the bases in it."""
        used = sorted({self.condition(condition)["base"] for condition in self.conditions})
        return {
            name: self.source(name).declared(self.config["bases"][name])
            for name in used
            if self.source(name).declared
        }

    def counted(self) -> dict[str, str]:
        """topology, as the tables name it -> base, for topologies that are counted in their checkpoint."""
        return {
            self.topology_name(condition): self.condition(condition)["base"]
            for condition in self.conditions
            if is_found(self.config["topologies"][self.condition(condition)["topology"]])
        }

    def topology_name(self, condition: str) -> str:
        """The name of a condition's topology in the tables: with its base if several have a topology of this name."""
        settings = self.condition(condition)
        bases = {
            other["base"]
            for other in map(self.condition, self.conditions)
            if other["topology"] == settings["topology"]
        }
        return settings["topology"] if len(bases) == 1 else f"{settings['topology']} of {settings['base']}"

    def sparse(self, topology: str) -> bool:
        """Whether the topology lacks weights."""
        return self.config["topologies"][topology]["method"] != "dense"

    def block_seed(self, block: str) -> int:
        """The seed of a block's batches."""
        return seed_of("block", self.seed, block)

    def base_block(self, block: str) -> str:
        """The block whose base and tasks this block uses: its own, or the first of those that share a base."""
        if block in self.tuning_blocks:
            return block
        return self.blocks[
            self.blocks.index(block) // self.study["blocks_per_base"] * self.study["blocks_per_base"]
        ]

    def base_seed(self, block: str) -> int:
        """The seed of a block's base and tasks: they share a world of people and employers."""
        return seed_of("block", self.seed, self.base_block(block))

    def bases(self) -> dict[str, str]:
        """block -> its base: blocks of one base replicate orders and streams, not topologies."""
        if all(self.generated(condition) for condition in self.conditions):
            return {block: self.base_block(block) for block in self.blocks}
        return dict.fromkeys(self.blocks, "published")

    @_once
    def tasks(self, stream: str) -> list[str]:
        """Names of the stream's tasks, in their own order."""
        settings = self.config["streams"][stream]
        return registry.load("streams.sources", settings["source"]).task_names(settings)

    @_once
    def order(self, stream: str, block: str) -> list[str]:
        """The block's order of tasks; for a tuning block, only the tasks that are tried."""
        order = order_of_block(self.tasks(stream), self.seed, block)
        return order[: self.study["tuning"]["tasks"]] if block in self.tuning_blocks else order

    # shapes, from config alone

    @_once
    def base_shape(self, base: str) -> dict:
        """Shape settings of a base, from its config or its checkpoint's config.json; {} if it is not downloaded.

        A checkpoint's shape has the FLOPs of all row lengths that the study sends through it. Raises UserError naming
        the base.
        """
        source = self.source(base)
        rows = () if source.generated else lengths(self, base)
        try:
            return source.shape(self.config["bases"][base], rows)
        except UserError as error:
            raise UserError(f"bases.{base}: {error}") from None

    @_once
    def control(self, condition: str):
        """The matched dense control (budgets.shapes.Control) of a condition with `match`; None for other conditions."""
        match = self.condition(condition).get("match")
        if not match:
            return None
        parent = self.base_shape(self.condition(condition)["base"])
        kept = check_topology(self.config["topologies"][match["to"]], parent)
        rows = {(self.sizes(s)["row_tokens"], self.sizes(s)["answer_tokens"]) for s in self.streams}
        if match["on"] == "flops" and len(rows) > 1:
            raise UserError(
                f"conditions.{condition}.match: the study's streams have rows of different lengths, so no one shape "
                "has the FLOPs of the sparse model on all of them; give each stream a study of its own"
            )
        sizes = self.sizes(self.streams[0])
        head = head_share(sizes["row_tokens"], sizes["answer_tokens"])
        try:
            return control(Shape(**parent), kept, match["on"], sizes["row_tokens"], head)
        except UserError as error:
            raise UserError(f"conditions.{condition}.match: {error}") from None

    @_once
    def shape(self, condition: str) -> dict:
        """Shape settings of the condition's model."""
        control = self.control(condition)
        return control.shape.settings() if control else self.base_shape(self.condition(condition)["base"])

    @_once
    def sizes(self, stream: str) -> dict:
        """Upper bounds of a stream's rows, items and tokens (`streams.source.Source.sizes`)."""
        settings = self.config["streams"][stream]
        return registry.load("streams.sources", settings["source"]).sizes(settings)

    def bits(self, stream: str) -> float | None:
        """Bits that all tasks of a stream ask a model to store; None if they are not known."""
        return self.sizes(stream).get("bits")

    def shape_of_model(self, entity: Entity) -> dict:
        """Shape settings of the model behind an entity; {} if it is not downloaded yet."""
        while entity.stage != "models":
            source = entity.inputs.get("base") or entity.inputs.get("model") or entity.inputs.get("run")
            entity = _as_list(source)[0]
        return registry.load("bases.sources", entity.settings["source"]).shape(entity.settings)

    def parameters(self, entity: Entity) -> int:
        """Number of parameters of the model behind an entity; 0 if it is not downloaded yet."""
        shape = self.shape_of_model(entity)
        return parameters(Shape(**shape))["total"] if shape else 0

    # entities, in the order of the stages

    @_once
    def mixture(self, condition: str, block: str) -> Entity | None:
        """The mixture of the condition's base on a block; None if the base declares none."""
        base, settings = self.condition(condition)["base"], self.base(condition)
        if "mixture" not in settings:
            return None
        generated = self.generated(condition)
        seed = self.base_seed(block) if generated else seed_of("mixture", self.seed)
        return self._entity(
            "streams",
            f"{base}_mixture",
            {"mixture": settings["mixture"], "files": self._fingerprints(settings["mixture"]), "seed": seed},
            tokenizer=None if generated else self.model(condition, block),
        )

    @_once
    def model(self, condition: str, block: str) -> Entity:
        """The condition's model before any topology."""
        base, settings = self.condition(condition)["base"], self.base(condition)
        source_settings = {
            key: value for key, value in settings.items() if key not in ("mixture", "recovery")
        }
        if not self.generated(condition):
            files = self.source(base).fingerprint(settings)
            return self._entity("models", base, {**source_settings, "files": files})
        source_settings["shape"] = {key: self.shape(condition)[key] for key in settings["shape"]}
        return self._entity(
            "models",
            base,
            {**source_settings, "seed": self.base_seed(block)},
            mixture=self.mixture(condition, block),
        )

    @_once
    def initial(self, condition: str, block: str) -> Entity:
        """The condition's generated model before its pretraining, from which a topology at init is made."""
        model = self.model(condition, block)
        settings = {key: value for key, value in model.settings.items() if key != "pretraining"}
        return self._entity("models", f"{model.label}_initial", settings)

    @_once
    def topology(self, condition: str, block: str, like: str | None = None) -> Entity:
        """The condition's model with its topology (or that of `like`), after recovery.

        A topology at init starts from the initial model, so its job does the base's pretraining too. If recovery
        distils, the pretrained dense model is the teacher and a separate input.
        """
        name, settings = like or self.condition(condition)["topology"], self.base(condition)
        chosen = dict(self.config["topologies"][name])
        at_init = chosen.pop("at", "trained") == "init"
        files = chosen.get("calibration", {}).get("files", ())
        reads_mixture = (
            at_init or "recovery" in settings or (needs_text(chosen) and not files and "mixture" in settings)
        )
        slice_ = {"topology": chosen, "recovery": settings.get("recovery")}
        if at_init:
            slice_["pretraining"] = settings["pretraining"]
        if self.study["measure_topologies"]:
            slice_["measure"] = True
            reads_mixture = "mixture" in settings
        slice_["files"] = {file: digest_of_given(given_path(file)) for file in files}
        slice_["seed"] = (
            self.base_seed(block) if self.generated(condition) else seed_of("topology", self.seed)
        )
        distils = "distillation" in settings.get("recovery", {})
        return self._entity(
            "topologies",
            name,
            slice_,
            model=self.initial(condition, block) if at_init else self.model(condition, block),
            mixture=self.mixture(condition, block) if reads_mixture else None,
            teacher=self.model(condition, block) if at_init and distils else None,
        )

    @_once
    def stream(self, stream: str, condition: str, block: str) -> Entity:
        """The block's tasks, in the tokens of the condition's base."""
        settings = self.config["streams"][stream]
        return self._entity(
            "streams",
            stream,
            {"stream": settings, "files": self._fingerprints([settings]), "seed": self.base_seed(block)},
            tokenizer=None if self.generated(condition) else self.model(condition, block),
        )

    def arm(self, condition: str) -> dict:
        """The settings of a condition for runs.attach."""
        settings = self.condition(condition)
        return {
            "mechanism": self.config["mechanisms"][settings["mechanism"]],
            "locked": settings["locked"],
            "sparse": self.sparse(settings["topology"]),
            "writes": settings["writes"],
            "ends": self.study["training"]["ends"],
        }

    @_once
    def _run_inputs(self, stream, condition, block) -> dict:
        like = self.condition(condition).get("like")
        return {
            "base": self.topology(condition, block),
            "like": self.topology(condition, block, like) if like else None,
            "stream": self.stream(stream, condition, block),
        }

    @_once
    def tuning(self, stream: str, condition: str) -> Entity:
        """The learning-rate trials of a condition on the tuning blocks."""
        inputs_of_blocks = [self._run_inputs(stream, condition, block) for block in self.tuning_blocks]
        settings = {
            "arm": self.arm(condition),
            "training": self.study["training"],
            "learning_rates": self.study["tuning"]["learning_rates"],
            "blocks": [
                {"block": block, "order": self.order(stream, block), "seed": self.block_seed(block)}
                for block in self.tuning_blocks
            ],
        }
        inputs = {role: [m[role] for m in inputs_of_blocks if m[role]] for role in ("base", "like", "stream")}
        return self._entity("tuning", condition, settings, **inputs)

    @_once
    def run(self, stream: str, condition: str, block: str, again: bool = False) -> Entity:
        """The training of a condition on a block's stream; `again`: a second one with the same seed, as its own
        entity."""
        extra = {"repeat": 1} if again else {}
        return self._run(stream, condition, block, self.order(stream, block), self.block_seed(block), **extra)

    @_once
    def reference(self, stream: str, condition: str, block: str, kind: str) -> Entity:
        """A condition's reference run (runs/references.py) on a block's tasks.

        A reference that does not depend on an order uses the stream's own order and the seed of the block's base, so
        that blocks with one base share it, with the batches of the base's first block.
        """
        tasks, seed, at = self.tasks(stream), self.base_seed(block), {}
        if kind == "joint":
            at = {"at": [len(tasks)]}
            if self.study["references"]["joint_at"] == "all":
                tasks, seed = self.order(stream, block), self.block_seed(block)
                at = {"at": list(range(1, len(tasks) + 1))}
        return self._run(stream, condition, block, tasks, seed, reference={"kind": kind, **at})

    def _run(self, stream, condition, block, order, seed, **own) -> Entity:
        settings = {
            "arm": self.arm(condition),
            "training": self.study["training"],
            "order": order,
            "seed": seed,
            **own,
        }
        inputs = self._run_inputs(stream, condition, block)
        return self._entity("runs", condition, settings, tuning=self.tuning(stream, condition), **inputs)

    def _scored(self, stream, condition, block, run: Entity) -> Run:
        settings = {
            **self.study["scoring"],
            "calibrated_options": self.study["secondary"]["calibrated_options"],
        }
        mixture = self.mixture(condition, block)
        score = self._entity("scores", condition, settings, run=run, mixture=mixture)
        return Run(condition, block, self.order(stream, block), run, score)

    def score(self, stream: str, condition: str, block: str) -> Entity:
        """The scores of a run."""
        return self._scored(stream, condition, block, self.run(stream, condition, block)).score

    # lists of results, for the rules

    @_once
    def runs(self, stream: str) -> list[Run]:
        """Every cell of the design on `stream`, by condition, then block."""
        return [
            self._scored(stream, c, b, self.run(stream, c, b)) for c in self.conditions for b in self.blocks
        ]

    @_once
    def references(self, stream: str) -> list[tuple[str, Run]]:
        """("single" or "joint", reference run) of every condition listed in study.references, on every block."""
        return [
            (kind, self._scored(stream, c, b, self.reference(stream, c, b, kind)))
            for kind in ("single", "joint")
            for c in self.conditions
            if c in self.study["references"][kind]
            for b in self.blocks
        ]

    @_once
    def repeats(self, stream: str) -> list[Run]:
        """The second training on the first block, for every condition listed in study.repeat."""
        block, repeated = self.blocks[0], self.study["repeat"]["conditions"]
        return [
            self._scored(stream, c, block, self.run(stream, c, block, True))
            for c in self.conditions
            if c in repeated
        ]

    @_once
    def secondary(self, stream: str) -> list[tuple[str, str, Entity]]:
        """(condition, block, measurement) of every cell, for every secondary outcome in study.secondary.

        The stage of a measurement is the name of its outcome.
        """
        outcomes = [table.name for table in SECONDARY if table.asked(self.study)]
        return [
            (cell.condition, cell.block, self._entity(name, cell.condition, settings, run=cell.run))
            for name in outcomes
            for settings in [self.study["secondary"][name]]
            for cell in self.runs(stream)
        ]

    def trained(self, stream: str) -> list[Run]:
        """Every run that is trained and scored on `stream`: cells, references and repeats."""
        return [*self.runs(stream), *(run for _, run in self.references(stream)), *self.repeats(stream)]

    def measured(self) -> list[str]:
        """Names of the tables of measurements that this study collects for each stream."""
        collected = [table for table in tables.every().values() if table.folder == tables.TABLES]
        return [table.name for table in collected if table.asked(self.study) and table not in MEASURED]

    def tunings(self, stream: str) -> list[tuple[str, Entity]]:
        """(condition, its tuning) in the study's order."""
        return [(condition, self.tuning(stream, condition)) for condition in self.conditions]

    def topologies(self, stream: str) -> list[tuple[str, str, Entity]]:
        """(topology, block, entity) of every topology of a base's own shape in this study."""
        entities = {}
        for condition in self.conditions:
            if "match" not in self.condition(condition):
                for block in self.blocks:
                    name = self.topology_name(condition)
                    entities.setdefault((name, block), self.topology(condition, block))
        return [(name, block, entity) for (name, block), entity in entities.items()]

    # checks

    def _check(self) -> None:
        for name in dict.fromkeys(self.condition(c)["base"] for c in self.conditions):
            base = self.config["bases"][name]
            self._refuse(f"bases.{name}", "bases.sources", base)
            for number, entry in enumerate(base.get("mixture", ())):
                self._refuse(f"bases.{name}.mixture.{number}", "streams.sources", entry, role="base")
        for name in self.streams:
            self._refuse(f"streams.{name}", "streams.sources", self.config["streams"][name])
            tasks = self.tasks(name)
            if len(tasks) < 2:
                raise UserError(
                    f"streams.{name}: found {len(tasks)} task, expected at least 2: the metrics compare tasks"
                )
            if len(tasks) < self.study["tuning"]["tasks"]:
                raise UserError(
                    f"study.tuning.tasks: found {self.study['tuning']['tasks']}, expected at most the {len(tasks)} "
                    f"tasks of stream {name!r}"
                )
        used = {}  # (condition, topology) -> whether the topology is for the condition's own shape
        for condition in self.conditions:
            settings = self.condition(condition)
            match = settings.get("match", {})
            for topology in filter(None, (settings["topology"], settings.get("like"), match.get("to"))):
                used[condition, topology] = topology == settings["topology"] or not match
                self._refuse_topology(topology, {})  # shapes need to know which topologies read text
        for (condition, topology), has_its_shape in used.items():
            self._refuse_topology(topology, self.shape(condition) if has_its_shape else {})

        for name in self.config["figures"]:
            shown = {Path(table).name for table in registry.load("figures", name).tables}
            needed = shown & {table.name for table in MEASURED}
            if needed and not self.study["measure_topologies"]:
                raise UserError(
                    f"figures.{name}: shows {', '.join(sorted(needed))}, found study.measure_topologies false, "
                    "expected true: models are measured only if a study asks for it; set it, or remove the figure"
                )

    def _refuse_topology(self, topology: str, shape: dict) -> None:
        try:
            check_topology(self.config["topologies"][topology], shape)
        except UserError as error:
            raise UserError(f"topologies.{topology}: {error}") from None

    def _refuse(self, where: str, package: str, settings: dict, **role) -> None:
        try:
            registry.load(package, settings["source"]).check(settings, **role)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None

    def _fingerprints(self, sources: list[dict]) -> list:
        key = json.dumps(sources, sort_keys=True)
        if key not in self._file_digests:
            self._file_digests[key] = [
                registry.load("streams.sources", entry["source"]).fingerprint(entry) for entry in sources
            ]
        return self._file_digests[key]
