"""U²-Net training: `python -m train CONFIG [section.key=value ...]`, `python -m train eval`, `python -m train export`.

data -> augment -> loader -> (streamseg.u2net) -> loss -> loop -> evaluate, metrics -> checkpoint, journal -> export
"""
