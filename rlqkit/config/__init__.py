"""Configuration: one frozen tree of typed fields, strict at the edge, hashed to a run id."""

from rlqkit.config.profiles import (
    config_hash,
    dataset_settings,
    flatten,
    from_dict,
    given_overrides,
    is_hashed,
    load_file,
    load_profile,
    packaged_table,
    parse_override,
    to_dict,
    with_overrides,
)
from rlqkit.config.schema import (
    NOT_HASHED,
    PROFILES,
    AveragingConfig,
    CapConfig,
    CompatConfig,
    Config,
    ContinuingConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    Moment,
    QualityConfig,
    RecolouringConfig,
    ReproduceConfig,
    RuntimeConfig,
    TeacherConfig,
    TrainingConfig,
)
from rlqkit.config.strict import build, build_section, get

__all__ = [
    "NOT_HASHED", "PROFILES", "AveragingConfig", "CapConfig", "CompatConfig", "Config",
    "ContinuingConfig", "DataConfig", "EvaluationConfig", "ModelConfig", "Moment", "QualityConfig",
    "RecolouringConfig", "ReproduceConfig", "RuntimeConfig", "TeacherConfig", "TrainingConfig",
    "build", "build_section", "config_hash", "dataset_settings", "flatten", "from_dict", "get",
    "given_overrides", "is_hashed", "load_file", "load_profile", "packaged_table",
    "parse_override", "to_dict", "with_overrides",
]  # fmt: skip
