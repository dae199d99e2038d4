"""Small recipes for tests."""

from trainer.recipe import Recipe, Stage


def make_stage(**changes: object) -> Stage:
    fields = {"name": "finish", "image_px": 64, "batch_size": 4, "epochs": 2, "learning_rate": 0.1, "train_from": "all"}
    return Stage(**(fields | changes))


def make_recipe(*stages: Stage, **changes: object) -> Recipe:
    fields = {"name": "test", "summary": "for tests", "backbone": "Tiny", "stages": stages or (make_stage(),)}
    return Recipe(**(fields | changes))
