"""The base of every error whose message is meant for users.

PointKDError
├── kd_methods: MethodError > MissingOutputError
├── detectors: DetectorError, CheckpointError, MissingOperatorError
└── benchmark
    ├── what is asked for: RequestError, ProfileError, SettingError
    ├── data: DataError > LabelError
    ├── records: RecordError, ViewError, CardError, PublishedError
    ├── while running: JournalError, TeacherError, CohortError, Interrupted, DiskFullError
    └── a cell's own end: DivergedError, UndefinedBalanceError; ExportError for a cell without one

``run_bench.py`` prints these, and the system's own OSError, as one line; whatever else is raised
is a fault of the code and keeps its traceback.
"""


class PointKDError(Exception):
    """What is wrong, where, and what to do about it, in words for whoever runs the benchmark."""
