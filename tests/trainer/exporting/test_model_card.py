"""What the card of an exported model says of its training."""

from typing import Any

from tests.trainer.exporting.making import make_contract
from tests.trainer.making import make_recipe
from trainer.exporting.model_card import model_card


def card_of(**changes: Any) -> str:
    record = {
        "settings": {"recipe": make_recipe().to_json(), "data_fingerprint": "f00d"},
        "data": {"name": "cars", "splits": {"train": 90}},
    }
    return model_card(record | changes, make_contract(), [], "val", 9, 10)


def test_a_soup_is_called_one() -> None:
    card = card_of(soup={"members": {"runs/a": "1", "runs/b": "2"}})
    assert "- A soup of 2 runs: the average of the weights" in card
    assert "of the best of them" in card


def test_a_trained_run_is_not_called_a_soup() -> None:
    assert "soup" not in card_of()
