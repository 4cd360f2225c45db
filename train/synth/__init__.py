"""Synthetic clips whose alpha, foreground colour and motion are exactly known: `python -m train synth`.

shapes.py    a person with loose hair, a hand and a room, drawn without any data
motion.py    smooth paths of camera and subject, as affine transforms over time
backdrops.py pictures, swaying pictures and films behind the subject
scene.py     a subject that moves before a background -> frames and their truth
recipes.py   which clips there are: subject, place, camera, motion blur, noise, compression
files.py     clips as files: written by `write_clips`, found again by `find_clips`
"""
