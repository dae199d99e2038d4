"""The flags that describe a source, shared by the commands that read photos."""

from dataclasses import fields

from absl import flags

from tfrecords_builder.sources.adjusted import AdjustedSource
from tfrecords_builder.sources.base import Source
from tfrecords_builder.sources.registry import SourceOptions, make_source, source_names

FLAGS = flags.FLAGS


def define_source_flags() -> None:
    """Defines the flags that `source_from_flags` reads."""
    flags.DEFINE_enum("source", None, source_names(), "Where the photos come from.", required=True)
    flags.DEFINE_string("images", None, "Folder of the photos.")
    flags.DEFINE_string("labels", None, "CSV file with the class of every photo (csv).")
    flags.DEFINE_string("test_images", None, "Folder of the photos to predict (csv).")
    flags.DEFINE_string(
        "sample_submission", None, "CSV file with the ids to predict, in order (csv)."
    )
    flags.DEFINE_string("id_column", None, "Column with the photo's file name (csv): Id.")
    flags.DEFINE_string("label_column", None, "Column with the class (csv): Category.")
    flags.DEFINE_string("group_column", None, "Column whose equal values are split together (csv).")
    flags.DEFINE_enum(
        "mismatches",
        None,
        ("error", "quarantine"),
        "Ids without a photo and photos without a row (csv, stanford_cars): error.",
    )
    flags.DEFINE_string("devkit", None, "Folder of the annotation files (stanford_cars).")
    flags.DEFINE_string("tfds", None, "Name of a TFDS data set, or the folder of one (tfds).")
    flags.DEFINE_string("tfds_data_dir", None, "Where TFDS keeps its data sets (tfds).")
    flags.DEFINE_integer("num_images", None, "Photos to render (synthetic).", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the split, the order and the rendering.")
    flags.DEFINE_string("exclude", None, "File with the ids of photos to leave out.")
    flags.DEFINE_string(
        "regroup", None, "CSV file class,group; or stanford_cars, the table that comes along."
    )
    flags.DEFINE_string("groups", None, "CSV file id,group: photos that are split together.")


def source_from_flags() -> Source:
    """Returns the source that the flags describe.

    Raises:
      SourceError: a flag that this source needs is missing, or one is given that it does not use.
    """
    source = make_source(
        FLAGS.source,
        SourceOptions(**{field.name: FLAGS[field.name].value for field in fields(SourceOptions)}),
    )
    return AdjustedSource(
        source=source, exclude=FLAGS.exclude, regroup=FLAGS.regroup, groups=FLAGS.groups
    )
