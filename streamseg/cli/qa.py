"""The command `streamseg qa`: judge a matte without truth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamseg.cli.errors import DAMAGED, errors_reported
from streamseg.cli.options import (
    ConfigFile,
    EngineName,
    InputSize,
    Model,
    Precision,
    Smooth,
    Stride,
    settings_from_flags,
)
from streamseg.cli.outputs import refuse_standard_output
from streamseg.interrupt import raise_again

if TYPE_CHECKING:
    from streamseg.frames import Frame


def qa(
    context: typer.Context,
    video: Annotated[
        str,
        typer.Argument(metavar="VIDEO", help="With alpha, stacked or beside x.alpha.mp4 too; a luma matte; or any."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.html", help="The page; FILE.json beside it (default: VIDEO.qa.html here)."
        ),
    ] = None,
    matte: Annotated[
        str | None,
        typer.Option("--matte", metavar="FILE", help="Judge this file's alpha or luma against VIDEO's frames."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Judge from here, where a --matte of `video --start` begins."),
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="End before this.")] = None,
    model: Model = None,
    engine: EngineName = None,
    precision: Precision = None,
    input_size: InputSize = None,
    stride: Stride = None,
    smooth: Smooth = None,
    config: ConfigFile = None,
) -> None:
    """Judge a matte without truth: `streamseg qa cut.mov`.

    Grades flicker, drop-outs, islands, holes, edges and haze, and shows the moments worth a look on a page that opens
    offline. A video without alpha is matted first. With its original a matte is judged best:
    `streamseg qa talk.mp4 --matte cut.mov`; both are taken to begin together, which --start changes.

    Exit code 0: judged, whatever the grades; 2: it could not be done; 3: judged, but a file was damaged.
    """
    with errors_reported():
        from streamseg.cli.progress import RunProgress
        from streamseg.decode import TimeRange
        from streamseg.qa.judge import Judge
        from streamseg.qa.matted import open_matted
        from streamseg.qa.report import page_path, summary_lines, write_report
        from streamseg.sink.overwriting import refuse_overwriting
        from streamseg.statistics import Statistics

        settings = settings_from_flags(context)
        time_range = TimeRange.of(start, end)
        refuse_standard_output(str(out))
        page = page_path(out, video)
        refuse_overwriting([page, page.with_suffix(".json")], video, matte)
        raise_again()
        statistics = Statistics()
        with open_matted(video, matte, settings, time_range) as matted:
            judge = Judge(video, matted)
            try:
                with RunProgress(matted.info.frame_count) as progress:

                    def count(frame: Frame) -> None:
                        statistics.count(frame, 0)
                        progress.update(statistics)

                    judge.judge(count)
            except KeyboardInterrupt:
                if statistics.frames:
                    write_report(judge.report(), page)
                    print(f"stopped by Ctrl-C; {page} holds the first {statistics.frames} frames", file=sys.stderr)
                raise
            report = judge.report()
        write_report(report, page)
        print("\n".join(summary_lines(report)))
        print(f"page: {page}; all figures: {page.with_suffix('.json')}")
        if report.warning:
            print(f"warning: {report.warning}", file=sys.stderr)
            raise typer.Exit(DAMAGED)
