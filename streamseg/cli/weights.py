"""The commands `streamseg weights ...`: list, describe, download and import network weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamseg.cli.errors import errors_reported
from streamseg.interrupt import raise_again

if TYPE_CHECKING:
    from streamseg.model.weights import WeightsInfo

weights_app = typer.Typer(help="List, describe, download and import network weights.", no_args_is_help=True)


@weights_app.command("list")
def list_command() -> None:
    """List the weights that are known by name: packaged, downloaded or to download."""
    with errors_reported():
        from streamseg.model.weights import list_weights

        for entry in list_weights():
            state = "packaged" if not entry.url else "downloaded" if entry.is_there else "to download"
            size = f"{(entry.size_bytes or entry.path.stat().st_size) / 1e6:.1f} MB"
            print(f"{entry.name:15} {state:12} {size:>9}  {entry.licence:11} {entry.description}")


@weights_app.command("info")
def info_command(
    weights: Annotated[str, typer.Argument(metavar="NAME|FILE", help="Weights of the list, a file or an ONNX graph.")],
) -> None:
    """Describe weights: architecture, training data, metrics, licence; of ONNX graphs, what they take and give."""
    with errors_reported():
        from streamseg.model.foreign import ForeignNet
        from streamseg.model.weights import load_model, read_info

        net = load_model(weights)
        for key, value in (net.facts() if isinstance(net, ForeignNet) else _facts(read_info(weights))).items():
            print(f"{key:14} {value}")


def _facts(info: WeightsInfo) -> dict[str, str]:
    """Return what `weights info` prints of our networks, by name."""
    return {
        "name": info.name,
        "file": str(info.path),
        "architecture": info.architecture,
        "parameters": f"{info.parameters:,}",
        "size": f"{info.size_bytes / 1e6:.1f} MB",
        **info.metadata,
    }


@weights_app.command("download")
def download_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Weights that `list` has to download.")],
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="STREAMSEG_WEIGHTS_URL", help="Folder on the web that has a copy."),
    ] = None,
) -> None:
    """Fetch weights, verify them and keep them in your data folder; a download that broke off is continued."""
    with errors_reported():
        from streamseg.cli.progress import download_bar
        from streamseg.model.download import download, downloadable

        entry = downloadable(name)
        with download_bar(name, entry.size_bytes) as progress:
            path = download(entry, mirror, progress)
        print(f"{path}: verified; --model {name} runs it")


@weights_app.command("import")
def import_command(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="u2net.pth, u2netp.pth, u2net_human_seg.pth, or .onnx.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.safetensors", help="The file to write.")],
) -> None:
    """Convert official U²-Net weights, or a checkpoint of `train`, to safetensors."""
    with errors_reported():
        from streamseg.model.weights import import_weights

        raise_again()
        info = import_weights(source, out)
        print(f"{out}: {info.architecture}, {info.parameters:,} parameters, from {source}")
