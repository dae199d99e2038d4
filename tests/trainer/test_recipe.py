"""Recipes: what is checked when one is written or changed from the command line."""

import dataclasses
import json
import math

import pytest

from tests.trainer.making import make_recipe, make_stage
from trainer.augment.config import Augmentation
from trainer.errors import RecipeError
from trainer.overrides import apply_overrides
from trainer.recipes import load_recipe, recipe_names
from trainer.run_record import recipe_from_json


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_survives_json(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe_from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_the_stepping_stone_has_the_network_of_the_recipe_that_starts_from_it() -> None:
    stone, following = load_recipe("stanford_cars"), load_recipe("ford_vs_ferrari")
    assert stone.backbone == following.backbone
    assert [stage.train_from for stage in stone.stages] == [
        stage.train_from for stage in following.stages[:2]
    ]


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'cars_small'"):
        load_recipe("car_small")


def test_image_size_off_the_grid_names_both_neighbours() -> None:
    with pytest.raises(RecipeError, match=r"image_px=225.*use 224 or 232"):
        make_stage(image_px=225)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("warmup_epochs", 3),
        ("layer_decay", 0.0),
        ("label_smoothing", 1.0),
        ("clip_norm", 0.0),
        ("ema_decay", 1.0),
        ("schedule", "linear"),
        ("batch_norm", "on"),
        ("class_weights", "yes"),
        ("plateau_patience", 0),
        ("name", "two words"),
    ],
)
def test_a_stage_outside_its_ranges_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(RecipeError, match=field.replace("name", "stage name")):
        make_stage(**{field: value})


def test_kept_features_need_a_frozen_network() -> None:
    with pytest.raises(RecipeError, match="cache_feature_views"):
        make_stage(cache_feature_views=2)


def test_kept_features_are_of_one_photo() -> None:
    with pytest.raises(RecipeError, match="mixup"):
        make_stage(
            train_from="head",
            cache_feature_views=2,
            augmentation=Augmentation(mixup_alpha=0.2),
        )


@pytest.mark.parametrize(("field", "value"), [("adam_beta_2", 1.0), ("adam_epsilon", 0.0)])
def test_an_optimizer_that_would_divide_by_zero_is_refused(field: str, value: float) -> None:
    with pytest.raises(RecipeError, match=field):
        make_recipe(**{field: value})


@pytest.mark.parametrize("clahe", [0.5, "always"])
def test_tiles_of_clahe_need_two_pixels_each(clahe: float | str) -> None:
    tiles = Augmentation(clahe=clahe, clahe_tiles=32)
    with pytest.raises(RecipeError, match=r"image_px=48 .*clahe_tiles=32.*64 px.*to 24 or lower"):
        make_stage(image_px=48, augmentation=tiles)
    make_stage(image_px=64, augmentation=tiles)
    make_stage(image_px=48, augmentation=Augmentation(clahe_tiles=32))


@pytest.mark.parametrize("field", ["learning_rate", "weight_decay", "clip_norm"])
def test_a_number_without_end_is_refused(field: str) -> None:
    with pytest.raises(RecipeError, match=f"{field}=inf cannot be used; need a finite number"):
        make_stage(**{field: math.inf})
    with pytest.raises(RecipeError, match="adam_epsilon=inf"):
        make_recipe(adam_epsilon=math.inf)


def test_stages_of_one_name_are_refused() -> None:
    with pytest.raises(RecipeError, match="different names"):
        make_recipe(make_stage(), make_stage())


def test_override_changes_exactly_one_field() -> None:
    recipe = make_recipe(make_stage(name="head"), make_stage())
    changed = apply_overrides(recipe, ["stages.finish.image_px=320"])
    assert changed == dataclasses.replace(
        recipe, stages=(recipe.stages[0], dataclasses.replace(recipe.stages[1], image_px=320))
    )


def test_star_changes_every_stage() -> None:
    changed = apply_overrides(
        make_recipe(make_stage(name="head"), make_stage()), ["stages.*.epochs=7"]
    )
    assert [stage.epochs for stage in changed.stages] == [7, 7]


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("head_dropout=0", "head_dropout", 0.0),
        ("monitor=val_accuracy", "monitor", "val_accuracy"),
        ("max_replica_batch=8", "max_replica_batch", 8),
        ("max_replica_batch=none", "max_replica_batch", None),
    ],
)
def test_override_reads_the_declared_type(assignment: str, path: str, value: object) -> None:
    changed = getattr(apply_overrides(make_recipe(max_replica_batch=4), [assignment]), path)
    assert changed == value
    assert type(changed) is type(value)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("mirror=1", {"mirror": 1.0}),
        ("crop_area=(0.5,1)", {"crop_area": (0.5, 1)}),
        ("clahe=always", {"clahe": "always"}),
        ("resize=pad", {"resize": "pad"}),
    ],
)
def test_override_reaches_into_the_augmentation(assignment: str, value: dict) -> None:
    changed = apply_overrides(make_recipe(), [f"stages.finish.augmentation.{assignment}"])
    assert changed.stages[0].augmentation == Augmentation(**value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stages.finsh.epochs=1", "did you mean 'finish'"),
        ("stages.finish.imagepx=64", "did you mean 'image_px'"),
        ("stages.finish.epochs=two", "not a value of type int"),
        ("stages.finish.epochs=1.5", "not a value of type int"),
        ("stages.finish=1", "need stages.STAGE.FIELD"),
        ("stages.finish.augmentation=1", "names a group"),
        ("stages.finish.epochs.more=1", "single value"),
        ("head_dropout", "no value"),
        ("stages.finish.augmentation.mirror=2", "mirror"),
        ("stages.finish.image_px=99", "use 96 or 104"),
    ],
)
def test_wrong_override_says_what_is_meant(assignment: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        apply_overrides(make_recipe(), [assignment])
