"""Settings: the part of a model that workers need, as `runway.models` carries it."""

from schemas.model import Model
from schemas.model_settings import ModelSettings, ReferenceProfile


def settings_of(model: Model, profile: ReferenceProfile | None) -> ModelSettings:
    """How the model's events are read; from when on is decided when that is published.

    >>> settings_of(Model("m", owner="risk", task="binary", threshold=0.7), None)
    ModelSettings(model_id='m', task='binary', join_window='PT1H', labels=[], positive_label='1', threshold=0.7, segments=[], \
features='keep', profile=None, effective_from=None)
    """
    return ModelSettings(
        model_id=model.model_id,
        task=model.task,
        join_window=model.join_window,
        labels=model.labels,
        positive_label=model.positive_label,
        threshold=model.threshold,
        segments=model.segments,
        features=model.features,
        profile=profile,
    )
