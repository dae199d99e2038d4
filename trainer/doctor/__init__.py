"""Is this machine fit for training? `python -m trainer.doctor` tells, with remedies."""
