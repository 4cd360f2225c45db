"""Trains U²-Net: `python -m train CONFIG [section.key=value ...]`; the other commands judge and use what it made."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Annotated, TypeVar

import torch
import typer
from rich.console import Console
from rich.progress import track

from streamseg.errors import ConfigError, StreamsegError
from streamseg.infer.engines import ENGINES, open_engine
from streamseg.infer.engines.base import long_side
from streamseg.infer.letterbox import LEAST_SIDE_PX
from streamseg.model.weights import load_model
from streamseg.settings import load_settings
from train.charts import draw_comparison
from train.clips import opened_clips
from train.config import load_config, parse_settings
from train.data import empty_pairs, pairs_at
from train.distributed import Ranks, process_group
from train.evaluate import judged
from train.export import export, read_averaged
from train.loop import Trainer
from train.metrics import by_prefix, summarise
from train.report import Worst, print_prefix_table, print_table, report_folder, write_report
from train.synth.files import TRUTH_VIDEO, SetSize, parse_size, write_clips
from train.teach import check_target, find_pictures, teach
from train.video_report import REGIONS, REPORT_FILE, print_clips, print_goals, write_video_report
from train.videos import engine_opener, judge_clip

COMMANDS = ("train", "eval", "synth", "curves", "export", "teach")

DEFAULT_SIZE = SetSize()

OWN_SIZE = "A network that takes one size alone gets that."

Item = TypeVar("Item")

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)


@app.command("train")
def train_command(
    config: Annotated[Path, typer.Argument(help="A TOML file, such as configs/train_lite.toml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, as often as needed.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder of checkpoints and logs [default: runs/CONFIG].")] = None,
    max_minutes: Annotated[float, typer.Option(min=0, help="Save and stop after the step that takes so long.")] = inf,
    fit_minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Fit the run into so long, all sittings and the last evaluation included: learning rate and crops "
            "follow the clock instead of optim.epochs, which still says what share warm-up is.",
        ),
    ] = None,
) -> None:
    """Trains, or continues the run in the same folder; the word `train` may be left out.

    Ctrl-C and SIGTERM save and stop after the step in progress. Several GPUs: torchrun --nproc-per-node=N -m train ...
    """
    with process_group() as (ranks, device):
        run = folder or Path("runs", config.stem)
        trainer = Trainer(load_config(config, overrides), run, device, ranks, fit_minutes)
        trainer.resume()
        if not trainer.fit(max_minutes) and ranks.is_main:
            print(f"stopped after {trainer.place}; to go on: {_same_command(ranks)}")


@app.command("eval")
def eval_command(
    weights: Annotated[
        str,
        typer.Option("--weights", "--model", help="A packaged name, a weights file or a run's .pt checkpoint."),
    ],
    data: Annotated[Path, typer.Option(help="Folder or tar shard of images and masks, or of clips.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="With --video: settings of streamseg as name=value, such as smooth=ema.")
    ] = None,
    video: Annotated[
        bool, typer.Option("--video", help="The data are clips: judge streamseg's own pipeline, and its yardsticks.")
    ] = False,
    empty: Annotated[
        bool, typer.Option("--empty", help="Nobody is in the images: alpha is 0, MAE its mean; F says nothing.")
    ] = False,
    every: Annotated[int, typer.Option(min=1, help="Take every N-th image by name, from the first one on.")] = 1,
    size: Annotated[
        int, typer.Option(min=LEAST_SIDE_PX, help=f"Network input, px: the square's side, or the long side. {OWN_SIZE}")
    ] = 320,
    keep_aspect: Annotated[bool, typer.Option("--keep-aspect", help="Do not squash images to a square.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the report [default: eval/WEIGHTS-DATA-OPTIONS].")] = None,
) -> None:
    """Scores weights on a set of images and masks, each at its own size.

    Prints a table, and one by sets where the stems name several, as in voc07__000123; the report is scores.json,
    scores.csv with a line an image, and worst.png with the 16 worst mattes.

    With --video DATA is what `synth` made, or holds NAME/clip.mp4 and NAME/masks/00000.png and so on. Every clip goes
    through the pipeline, offline, with any of its settings. Tables by clip, the same mattes by simpler means beside
    them, and what is wanted; the report is video.json. `--model truth` puts the true alpha in the network's place.
    """
    if video:
        return _eval_video(weights, data, settings or [], out or report_folder(weights, data, settings or []))
    if settings:
        raise ConfigError(f"settings such as {settings[0]!r} are those of the pipeline: add --video, or leave them out")
    pairs, engine = (empty_pairs if empty else pairs_at)(data)[::every], open_engine("auto", load_model(weights))
    size_px = long_side(engine, size)
    worst, told = Worst(), {"weights": weights, "data": str(data), "size_px": size_px, "squash": not keep_aspect}
    told |= {"empty": empty, "every": every}
    done = judged(engine.alpha, enumerate(pairs), size_px, not keep_aspect, torch.device("cpu"))
    records = list(_with_bar(worst.watched(done), len(pairs)))
    marks = [f"{size_px}px"] + ["aspect"] * keep_aspect + ["empty"] * empty + [f"every{every}"] * (every > 1)
    scores, folder = summarise(records), out or report_folder(weights, data, marks)
    named = [(pair.stem, record) for pair, record in zip(pairs, records, strict=True)]
    write_report(folder, told, scores, named, worst.tiles())
    how = (", proportions kept" if keep_aspect else "") + (f", one image in {every}" if every > 1 else "")
    print_table(scores, f"{weights} on {data}, {size_px} px{how}")
    if len(sets := by_prefix(named)) > 1:
        print_prefix_table(sets)
    print(f"wrote scores.json, scores.csv and worst.png to {folder}")


def _eval_video(model: str, data: Path, given: list[str], folder: Path) -> None:
    """Scores the pipeline on clips, see `eval_command`."""
    settings = load_settings(overrides={"model": model, **parse_settings(given)})
    with opened_clips(data) as clips:
        engine_for = engine_opener(settings)
        found = [judge_clip(clip, engine_for, settings) for clip in _with_bar(clips, len(clips), "clips")]
    write_video_report(folder, {"data": str(data), **settings.model_dump()}, found)
    print(" ".join((f"{model} on {data}", *given)))
    for region in REGIONS:
        print_clips(found, region)
    print_goals(found)
    print(f"wrote {REPORT_FILE} to {folder}")


@app.command("synth")
def synth_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the clips; it is made.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of composites.tar and empty_rooms.tar [default: everything is drawn]."),
    ] = None,
    clips: Annotated[int, typer.Option(min=1, max=1000, help="Number of clips.")] = DEFAULT_SIZE.clips,
    frames: Annotated[int, typer.Option(min=2, help="Frames a clip, 24 a second.")] = DEFAULT_SIZE.frames,
    size: Annotated[
        str, typer.Option(help="Width x height, px, both even.")
    ] = f"{DEFAULT_SIZE.width_px}x{DEFAULT_SIZE.height_px}",
    moving: Annotated[
        int, typer.Option(min=0, max=1000, help="Further clips, before backgrounds that move themselves.")
    ] = DEFAULT_SIZE.moving,
    films: Annotated[
        Path | None,
        typer.Option(help="Folder of videos without people, for --moving [default: parts of photos and rooms sway]."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other clips; the same one the same.")] = 0,
) -> None:
    """Makes clips whose alpha, foreground colour and motion are exactly known, for `eval --video`.

    People, a drawn one with loose hair, a hand at 40 px a frame, a person who walks in, and empty rooms; the camera
    stands, is held by hand or pans; some with motion blur, noise and compression. With --moving, more of them before
    backgrounds that move themselves.
    """
    if films and not moving:
        raise ConfigError(f"--films {films} is for backgrounds that move: give --moving N, or leave it out")
    wanted = SetSize(clips, frames, *parse_size(size), moving)
    for clip in _with_bar(write_clips(out, data, seed, wanted, films), clips + moving, "clips"):
        print(f"{clip.name}: {clip.path.name}, {TRUTH_VIDEO}")
    print(f"wrote {clips + moving} clips to {out}")


@app.command("curves")
def curves_command(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, .png or .svg.")],
) -> None:
    """Draws loss, max F and MAE of runs over the images that they have seen, beside the published log."""
    draw_comparison(runs, out)
    print(f"wrote {out}")


@app.command("export")
def export_command(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="A run folder (its best.pt is taken), a checkpoint in one, or weights; several are averaged."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help=".safetensors, .onnx, .int8.onnx or .int8.xml (OpenVINO).")],
    metrics: Annotated[str | None, typer.Option(help="Measured scores to store instead of the run's own.")] = None,
    sharpness: Annotated[float, typer.Option(min=0.1, help="Factor on the logits; over 1 for a short training.")] = 1.0,
    half: Annotated[bool, typer.Option("--half", help="float16, for .safetensors.")] = False,
    calibrate: Annotated[list[Path] | None, typer.Option(help="Training images for int8; may be repeated.")] = None,
    check: Annotated[
        list[Path] | None, typer.Option(help="Images to judge the exported network on; int8 needs them.")
    ] = None,
) -> None:
    """Writes a run's network as a file that streamseg, ONNX Runtime or OpenVINO loads, with its model card.

    Int8 is quantized after training, but for convolutions that do not bear it. What loses more than 0.005 of max F or
    MAE on the images of --check is refused.
    """
    net, card = read_averaged(sources, metrics, sharpness)
    calibration, checks = ([pair for path in paths or () for pair in pairs_at(path)] for paths in (calibrate, check))
    export(net, card, out, half, calibration, checks)
    print(f"wrote {out}")


@app.command("teach")
def teach_command(
    weights: Annotated[str, typer.Option(help="The teacher: a packaged name, a weights file or a .pt checkpoint.")],
    data: Annotated[list[Path], typer.Option(help="Folder or tar shard of images, masks or not; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new tar shard; one that exists is not touched.")],
    size: Annotated[
        int, typer.Option(min=LEAST_SIDE_PX, help=f"Long side of the network's input, px. {OWN_SIZE}")
    ] = 320,
    engine: Annotated[str, typer.Option(help=f"auto, {', '.join(ENGINES)}.")] = "auto",
) -> None:
    """Runs a network once over images and keeps its alpha beside them, as soft labels that others are trained on.

    The shard holds images/ as they were and masks/ with the alpha; name it in data.train.
    """
    check_target(out)
    network, pictures = load_model(weights), find_pictures(data)
    teacher = open_engine(engine, network)
    size_px = long_side(teacher, size)
    teach(teacher.alpha, _with_bar(pictures, len(pictures)), size_px, out)
    print(f"wrote {out}: {len(pictures)} images with the alpha of {weights} at {size_px} px")


def main(args: list[str] | None = None) -> None:
    """Runs the command line and always leaves by SystemExit: 0, 2 after an error, 130 after Ctrl-C in eval or teach."""
    args = sys.argv[1:] if args is None else args
    if args and args[0] not in (*COMMANDS, "--help"):
        args = ["train", *args]
    try:
        app(args, prog_name="python -m train")
    except StreamsegError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _with_bar(items: Iterable[Item], count: int, what: str = "images") -> Iterable[Item]:
    """Shows on standard error how many of the images, or of what else, are done."""
    return track(items, what, count, console=Console(stderr=True), transient=True)


def _same_command(ranks: Ranks) -> str:
    start = ["python"] if ranks.count == 1 else ["torchrun", f"--nproc-per-node={ranks.count}"]
    return shlex.join([*start, "-m", "train", *sys.argv[1:]])


if __name__ == "__main__":
    main()
