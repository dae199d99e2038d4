"""Answers photos over HTTP with an exported model.

python -m trainer.serve --model=FILE_OR_DIR
"""

from absl import flags

from tfrecords_builder import command_line
from trainer.serving.settings import ServiceSettings

FLAGS = flags.FLAGS
_DEFAULT = ServiceSettings()

flags.DEFINE_string(
    "model", None, "A .tflite or .onnx file of trainer.export, or its folder.", required=True
)
flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 is every one.")
flags.DEFINE_integer("port", 8080, "Port to listen on; 0 is any free one.", 0)
flags.DEFINE_integer("threads", _DEFAULT.threads, "Of the network; 0 is one a core.")
flags.DEFINE_integer("decoders", _DEFAULT.decoders, "Processes for photos; 0 is one a core.")
flags.DEFINE_integer("decoder_mb", _DEFAULT.decoder_mb, "Memory for decoding one photo, MB.")
flags.DEFINE_integer("max_batch", _DEFAULT.max_batch, "Photos in one pass of the network.")
flags.DEFINE_float("max_wait_ms", _DEFAULT.max_wait_ms, "Wait of an idle network for a second.")
flags.DEFINE_integer("queue", _DEFAULT.queue, "Photos inside at once; above that 429.")
flags.DEFINE_float("max_body_mb", _DEFAULT.max_body_mb, "Size of a request, MB.")
flags.DEFINE_integer("max_pixels", _DEFAULT.max_pixels, "That a photo may declare.")
flags.DEFINE_float("timeout_s", _DEFAULT.timeout_s, "Time of a request, seconds.")
flags.DEFINE_float("drain_s", _DEFAULT.drain_s, "Time to serve on, not ready, before stopping.")
flags.DEFINE_bool("access_log", False, "A line for each request.")


def main() -> None:
    """Serves until it is told to stop."""
    settings = ServiceSettings(
        threads=FLAGS.threads,
        decoders=FLAGS.decoders,
        decoder_mb=FLAGS.decoder_mb,
        max_batch=FLAGS.max_batch,
        max_wait_ms=FLAGS.max_wait_ms,
        queue=FLAGS.queue,
        max_body_mb=FLAGS.max_body_mb,
        max_pixels=FLAGS.max_pixels,
        timeout_s=FLAGS.timeout_s,
        drain_s=FLAGS.drain_s,
    )
    # Here and not above: --help must not wait for the web framework.
    from trainer.serving.server import serve

    serve(FLAGS.model, FLAGS.host, FLAGS.port, settings, FLAGS.access_log)


if __name__ == "__main__":
    command_line.run(main)
