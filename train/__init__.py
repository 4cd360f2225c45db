"""U²-Net training: `python -m train CONFIG [section.key=value ...]`; the other commands judge and use what it made.

The files, in the order that an image passes them:

    config.py       every setting, documented where it is defined; the recipes are in `configs/`
    data.py         folders and tar shards -> pairs of image and mask, checked before the first step
    cache.py        pairs decoded once, on disk
    composites.py   cut-outs over backgrounds, framed as webcams do
    augment.py      pair -> crop; camera.py does to it what lenses, rooms and codecs do
    loader.py       crops -> batches from worker processes; resident.py makes them on the GPU instead
    schedule.py     order of the images, learning rate, when to judge; allowance.py fits a run into a time
    learner.py      network, optimiser, averaged weights; loss.py is what it minimises
    loop.py         the run: steps, evaluations, checkpoints, stops; distributed.py where there are several processes
    evaluate.py     mattes over a set of pairs; metrics/ scores them, report.py tells
    journal.py      log, JSON lines, TensorBoard; charts.py and pictures.py draw, provenance.py says with what
    teach.py        a network's alpha as the masks of further training
    synth/          clips whose alpha, foreground colour and motion are exactly known
    clips.py        those and others; videos.py judges the whole pipeline on them, video_report.py tells
    export.py       checkpoint -> safetensors with a model card; graphs.py -> ONNX and int8
"""
