"""The engine: carries the stages out, step by step, on whatever the strategy holds."""
