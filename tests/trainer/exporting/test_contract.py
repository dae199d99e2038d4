import io
import json
import zipfile

import pytest

from tests.trainer.exporting.making import make_contract
from trainer.exporting.contract import Contract, ContractError, append_contract, read_contract


def test_a_tflite_file_gives_back_the_contract_that_was_appended(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(append_contract(b"\x1c\0\0\0TFL3 and so on", make_contract()))
    assert read_contract(path) == make_contract()


def test_an_appended_contract_leaves_the_model_in_front_untouched():
    assert append_contract(b"model", make_contract()).startswith(b"model")


def test_labels_can_be_read_by_any_archive_program():
    file = zipfile.ZipFile(io.BytesIO(append_contract(b"model", make_contract())))
    assert file.read("labels.txt").decode().splitlines() == ["coupe", "van"]


def test_a_file_without_a_contract_is_told(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3")
    with pytest.raises(ContractError, match=r"holds no contract.json"):
        read_contract(path)


def test_a_contract_of_another_version_is_told():
    document = {**make_contract().to_json(), "schema_version": 99}
    with pytest.raises(ContractError, match="99"):
        Contract.from_json(json.loads(json.dumps(document)))


def test_reading_contracts_needs_nothing_but_python():
    import subprocess
    import sys

    code = (
        "import sys, trainer.exporting.contract; "
        "assert not {'tensorflow', 'numpy', 'PIL'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
