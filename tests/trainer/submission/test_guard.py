"""What the guard lets pass and what it stops."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.submission.errors import SubmissionError
from trainer.submission.file import SubmissionFile, read_submission
from trainer.submission.guard import check_submission

Rows = list[tuple[str, str]]
SAMPLE = [("a.jpg", "0"), ("b.jpg", "0"), ("c.jpg", "0")]
GOOD = [("a.jpg", "1"), ("b.jpg", "0"), ("c.jpg", "2")]
CLASSES = ["0", "1", "2"]


def _file(rows: Rows, header: tuple[str, ...] = ("Id", "Category")) -> SubmissionFile:
    return SubmissionFile(path=Path("submission.csv"), header=header, rows=tuple(rows))


def test_good_submission_passes() -> None:
    check_submission(_file(GOOD), _file(SAMPLE), CLASSES)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (GOOD[:2], r"lacks 1 ids of the sample \('c\.jpg'\)"),
        ([*GOOD, ("d.jpg", "1")], r"1 others \('d\.jpg'\)"),
        ([*GOOD[:2], ("C.jpg", "1")], "lacks 1 .* 1 others"),
        ([GOOD[1], GOOD[0], GOOD[2]], r"'b\.jpg' in line 2 where the sample has 'a\.jpg'"),
        ([*GOOD, GOOD[0]], "1 ids more than once"),
        ([*GOOD[:2], ("c.jpg", "3")], r"1 labels that are no class \('3'\)"),
        ([*GOOD[:2], ("c.jpg", "1.0")], "no class"),
        ([*GOOD[:2], ("c.jpg", " 1")], "no class"),
        ([*GOOD[:2], ("c.jpg", "")], "'' in line 4"),
        ([*GOOD[:2], ("c.jpg", "NaN")], "'NaN' in line 4"),
        ([(name, "1") for name, _ in GOOD], "says '1' in all of its 3 rows"),
    ],
)
def test_wrong_rows_are_stopped(rows: Rows, words: str) -> None:
    with pytest.raises(SubmissionError, match=words):
        check_submission(_file(rows), _file(SAMPLE), CLASSES)


@pytest.mark.parametrize("header", [("id", "Category"), ("Category", "Id"), ("Id", "Label")])
def test_wrong_columns_are_stopped(header: tuple[str, ...]) -> None:
    with pytest.raises(SubmissionError, match="'Id', 'Category' are needed"):
        check_submission(_file(GOOD, header), _file(SAMPLE), CLASSES)


@pytest.mark.parametrize("label", ["", "nan", "None"])
def test_blank_labels_are_stopped_without_known_classes(label: str) -> None:
    with pytest.raises(SubmissionError, match="every photo needs a class"):
        check_submission(_file([*GOOD[:2], ("c.jpg", label)]))


def test_class_that_is_called_none_is_a_class() -> None:
    check_submission(_file([*GOOD[:2], ("c.jpg", "none")]), _file(SAMPLE), [*CLASSES, "none"])


NAMES = ["coupe", "suv", "van"]


def test_numbers_of_the_classes_stand_for_their_names() -> None:
    check_submission(_file(GOOD), _file(SAMPLE), NAMES)
    check_submission(_file([("a.jpg", "van"), ("b.jpg", "suv"), ("c.jpg", "van")]), None, NAMES)


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ("01v", ["coupe", "suv", "v"], r"2 labels that are no class \('0', '1'\)"),
        ("013", NAMES, r"'coupe', 'suv', 'van', or in all rows a number from 0 to 2, is needed"),
        # Class 3 has no photos: its name is not the number of a class that has.
        ("013", ["0", "1", "2", "4"], r"1 labels that are no class \('3'\)"),
        ("012", ["1", "2", "3"], r"no class \('0'\)"),
    ],
)
def test_numbers_beside_names_or_for_classes_that_are_called_by_numbers_are_stopped(
    labels: str, classes: list[str], words: str
) -> None:
    rows = [(f"{index}.jpg", label) for index, label in enumerate(labels)]
    with pytest.raises(SubmissionError, match=words):
        check_submission(_file(rows), None, classes)


def test_single_photo_may_be_of_one_class() -> None:
    check_submission(_file(GOOD[:1]), _file(SAMPLE[:1]), CLASSES)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_only_the_order_of_the_sample_passes(order: list[int]) -> None:
    sample = _file([(str(index), "0") for index in range(6)])
    submission = _file([(str(index), str(index % 2)) for index in order])
    if order == sorted(order):
        check_submission(submission, sample)
    else:
        with pytest.raises(SubmissionError, match="where the sample has"):
            check_submission(submission, sample)


@pytest.mark.parametrize("folder", ["cars", "sf_dl_car_classification"])
def test_real_sample_submission_is_stopped_only_for_its_single_class(
    material: Path, folder: str
) -> None:
    sample = read_submission(material / folder / "sample-submission.csv")
    with pytest.raises(SubmissionError, match="says '0' in all"):
        check_submission(sample, sample, [str(index) for index in range(10)])
    changed = ((sample.ids[0], "9"), *sample.rows[1:])
    check_submission(
        SubmissionFile(path=sample.path, header=sample.header, rows=changed), sample, ["0", "9"]
    )
