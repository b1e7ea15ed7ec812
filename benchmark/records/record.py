"""The fields of a record; ``record.schema.json`` says the same to other programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

Status = Literal["done", "failed", "diverged", "skipped"]


class Frames(TypedDict):
    """The frames of a data set."""

    name: str
    synthetic: bool
    fingerprint: str
    train_frames: int
    val_frames: int


class Dataset(Frames, total=False):
    """What a cell was trained and evaluated on.

    ``shared_frames``: validation frames that are training frames too. ``genuine``: all are KITTI's
    own. ``description``: what is not as in KITTI. Older records say none of them.
    """

    shared_frames: int
    genuine: bool
    description: dict[str, Any]


class ProfileSummary(TypedDict):
    """How long and how large a cell was trained.

    ``reduced``: the grid is smaller than mmdet3d's own. ``recipe``: every field, with defaults.
    """

    name: str
    purpose: str
    reduced: bool
    recipe: dict[str, Any]


class Timing(TypedDict):
    """Milliseconds from the points of one frame to its boxes."""

    median: float
    iqr: float


class Latency(Timing, total=False):
    """A timing and what it depends on; absent from records made before these were kept.

    ``threads``: of PyTorch; ``load``: the system's average of the last minute before the
    measurement, None where it keeps none; ``in_turns``: with the run's other networks, and nothing
    of the run beside them.
    """

    threads: int
    load: float | None
    in_turns: bool


class Cost(TypedDict):
    """What a student costs as deployed, see :func:`benchmark.costs.measure.model_cost`."""

    params: int
    flops_paper: int
    flops_full: int
    activations: int
    latency_ms: Latency | None
    peak_memory_mb: float | None
    peak_memory_of: str | None
    energy_j: float | None
    frames: list[str]


class Training(TypedDict):
    """What a cell's training took: seconds alone and as run in lockstep, and the method's part."""

    seconds_alone: float
    seconds_as_run: float
    seconds_method: float
    balance: float | None
    extra_params: int
    extrapolated: bool
    losses: list[dict[str, float]]


class Environment(TypedDict):
    """What timings depend on."""

    versions: dict[str, str]
    python: str
    machine: str
    threads: int
    operators: list[str]


class Provenance(Environment):
    """What produced a record.

    ``commit``: of the code, None outside a checkout; ``clean``: whether the code was as
    committed; ``ended``: time in UTC, ISO 8601. None where it is not known.
    """

    commit: str | None
    clean: bool | None
    ended: str | None


class Record(TypedDict):
    """Everything about one finished cell.

    ``settings`` are what determines the result, without those at their default; ``cell`` is their
    hash. ``ap`` is as ``evaluate --json`` writes it.
    """

    cell: str
    status: Status
    reason: str
    dataset: Dataset
    profile: ProfileSummary
    student: str
    method: str
    weighting: str
    precision: str
    seed: int
    settings: dict[str, Any]
    hyperparameters: dict[str, Any]
    ap: dict[str, Any] | None
    weights_sha256: str | None
    losses_sha256: str | None
    cost: Cost | None
    training: Training | None
    provenance: Provenance


GENERATED = "the built-in set"
"""Name of the data set that is generated."""
KD_LOSS = "kd."
"""Begins the names of a method's own losses, apart from the detector's."""
FIELDS = tuple(Record.__annotations__)
"""The fields of every record, in the order in which they are written."""


def kind_of_data(dataset: Dataset) -> str:
    """What the frames of a data set are, said wherever a figure of it is shown."""
    return "synthetic data" if dataset["synthetic"] else "real frames"


def title(record: Record) -> str:
    """What its cell is called in messages."""
    control = record["settings"].get("control", "")
    told = f" ({control})" if control else ""
    return f"{record['student']} {record['method']} seed {record['seed']}{told}"


def is_teacher(record: Record) -> bool:
    """Whether its cell is a teacher, which has none itself."""
    return not record["settings"].get("teacher")


def has_own_config(student: str) -> bool:
    """Whether it is ``second@xs`` rather than ``second@4``."""
    return student.partition("@")[2].isidentifier()


def cohort_title(settings: Mapping[str, Any]) -> str:
    """What the cohort of a cell with these settings is called, and its log."""
    kind, student = "students" if settings.get("teacher") else "teacher", settings["student"]
    who = student if kind == "teacher" or has_own_config(student) else student.partition("@")[0]
    told = f", {settings['control']}" if settings.get("control") else ""
    return f"{who} {kind}, seed {settings['seed']}{told}"


def loss_names(record: Record) -> tuple[str, ...]:
    """The names of the losses that a cell trained with, in any epoch."""
    epochs = record["training"]["losses"] if record["training"] else []
    return tuple(sorted({name for epoch in epochs for name in epoch}))


def describe_weights(record: Record) -> str:
    """How the weights of a network came about."""
    return f"{record['method']}, seed {record['seed']}, {describe_training(record)}"


def describe_training(record: Record) -> str:
    """The data set and profile that a network was trained under."""
    dataset, profile = record["dataset"], record["profile"]
    return f"trained on {dataset['name']} ({kind_of_data(dataset)}) under profile {profile['name']}"
