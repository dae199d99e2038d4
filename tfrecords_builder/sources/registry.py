"""The sources by name. A new one is a module of its own and a line here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from tfrecords_builder.sources.base import Source
from tfrecords_builder.sources.photo_files import SourceError


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOptions:
    """What the command line can say about a source, named as its flags; None where it says nothing.

    `seed` is for every source; of the others each takes what it needs and refuses the rest.
    """

    images: str | None = None
    labels: str | None = None
    test_images: str | None = None
    sample_submission: str | None = None
    id_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    mismatches: str | None = None
    devkit: str | None = None
    tfds: str | None = None
    tfds_data_dir: str | None = None
    num_images: int | None = None
    seed: int = 0


def make_source(name: str, options: SourceOptions) -> Source:
    """Returns the source called `name`.

    Raises:
      SourceError: an option that this source needs is missing, or one is given that it ignores.
    """
    used, make = _SOURCES[name]
    for field in fields(options):
        if field.name not in (*used, "seed") and getattr(options, field.name) is not None:
            raise SourceError(
                f"--{field.name} was given, which --source={name} does not use; leave it out "
                f"(it uses {', '.join(f'--{option}' for option in used)})"
            )
    return make(options)


def source_names() -> tuple[str, ...]:
    """Returns the names that `make_source` knows."""
    return tuple(_SOURCES)


def _required(value: str | None, flag: str, source: str) -> str:
    if not value:
        raise SourceError(f"--source={source} was given without --{flag}; give --{flag}=...")
    return value


def _folder(options: SourceOptions) -> Source:
    from tfrecords_builder.sources.folder import FolderSource

    return FolderSource(images=_required(options.images, "images", "folder"))


def _csv(options: SourceOptions) -> Source:
    from tfrecords_builder.sources.competition import CompetitionSource

    return CompetitionSource(
        images=_required(options.images, "images", "csv"),
        labels=_required(options.labels, "labels", "csv"),
        test_images=options.test_images,
        sample_submission=options.sample_submission,
        id_column=options.id_column or "Id",
        label_column=options.label_column or "Category",
        group_column=options.group_column,
        quarantine_mismatches=options.mismatches == "quarantine",
    )


def _stanford_cars(options: SourceOptions) -> Source:
    from tfrecords_builder.sources.stanford_cars import StanfordCarsSource

    return StanfordCarsSource(
        images=_required(options.images, "images", "stanford_cars"),
        devkit=_required(options.devkit, "devkit", "stanford_cars"),
        quarantine_mismatches=options.mismatches == "quarantine",
    )


def _synthetic(options: SourceOptions) -> Source:
    from tfrecords_builder.sources.synthetic import SyntheticSource

    if options.num_images is None:
        raise SourceError(
            "--source=synthetic was given without --num_images; give --num_images=1000"
        )
    return SyntheticSource(num_images=options.num_images, seed=options.seed)


def _tfds(options: SourceOptions) -> Source:
    from tfrecords_builder.sources.tfds_dataset import TfdsSource

    return TfdsSource(
        dataset=_required(options.tfds, "tfds", "tfds"), data_dir=options.tfds_data_dir
    )


_CSV_OPTIONS = (
    *("images", "labels", "test_images", "sample_submission", "id_column", "label_column"),
    *("group_column", "mismatches"),
)
_SOURCES: Mapping[str, tuple[Sequence[str], Callable[[SourceOptions], Source]]] = {
    "csv": (_CSV_OPTIONS, _csv),
    "folder": (("images",), _folder),
    "stanford_cars": (("images", "devkit", "mismatches"), _stanford_cars),
    "synthetic": (("num_images",), _synthetic),
    "tfds": (("tfds", "tfds_data_dir"), _tfds),
}
