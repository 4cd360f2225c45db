"""Draw before, matte and after side by side: what the README shows.

    python samples/make_picture.py demo/before_matte_after.jpg

`make demo` runs it.
"""

import argparse
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

import streamseg as ss

SAMPLES = Path(__file__).parent
FRAME, HEIGHT_PX, GAP_PX, QUALITY = 60, 300, 8, 88


def main() -> None:
    """Matte the clip up to one frame, which stands behind its first scene cut, and draw that."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    with ss.MattingSession() as session:
        *_, result = islice(session.stream(SAMPLES / "talk.mp4"), FRAME)
        after = result.over(SAMPLES / "beach.jpg")
    images = [result.frame.pixels, cv2.cvtColor(result.alpha, cv2.COLOR_GRAY2RGB), after]
    width_px = round(after.shape[1] * HEIGHT_PX / after.shape[0])
    tiles = [cv2.resize(image, (width_px, HEIGHT_PX), interpolation=cv2.INTER_AREA) for image in images]
    gap = np.full((HEIGHT_PX, GAP_PX, 3), 255, np.uint8)
    row = np.hstack([tiles[0], gap, tiles[1], gap, tiles[2]])
    cv2.imwrite(str(out), row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    print(out)


if __name__ == "__main__":
    main()
