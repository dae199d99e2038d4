"""Where photos come from: one small module a source, all behind `base.Source`."""
