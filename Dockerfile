# One image for each kind of machine, made from the locks:
#   docker build --build-arg ACCELERATOR=cpu|gpu|tpu --tag staged-trainer:cpu .
#   docker run staged-trainer:cpu trainer.task --help
# Python 3.11 because TensorFlow for TPUs is not made for anything newer than 3.12.
FROM python:3.11-slim-bookworm

ARG ACCELERATOR=cpu

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    TF_CPP_MIN_LOG_LEVEL=1

RUN useradd --create-home --uid 1000 trainer

# The long layer first: it changes with the lock only, not with the code.
WORKDIR /opt/staged-trainer
COPY requirements/${ACCELERATOR}.lock requirements.lock
RUN pip install --requirement requirements.lock

COPY setup.py pyproject.toml README.md LICENSE ./
COPY tfrecords_builder tfrecords_builder
COPY trainer trainer
COPY launch launch
RUN pip install --no-deps --no-build-isolation . && rm -rf build ./*.egg-info

USER 1000
WORKDIR /home/trainer
# Matplotlib looks through all fonts at its first import: here, and not in every container.
RUN python -c "import matplotlib.font_manager"
ENTRYPOINT ["python", "-m"]
CMD ["trainer.task", "--help"]
