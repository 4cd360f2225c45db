"""Int8 networks: ONNX graphs with quantized weights and activations, which `train` exports and OpenVINO runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streamseg.errors import WeightsError

SUFFIX = ".int8.onnx"
"""Ending of the names of int8 files."""

FORMAT = "streamseg-int8-1"
"""Value of the metadata key `format` in int8 files that `train` exports."""


@dataclass(frozen=True, slots=True)
class QuantizedNet:
    """An int8 network on disk: frames `(N, 3, h, w)` of any size -> alpha `(N, 1, h, w)`.

    Attributes:
        path: the ONNX file.
    """

    path: Path

    def metadata(self) -> dict[str, str]:
        """Read the model card: format, architecture, parameters, recipe, metrics and so on.

        Raises:
            WeightsError: the file is damaged or was not exported by `train`.
        """
        import openvino as ov

        try:
            facts = ov.Core().read_model(self.path).get_rt_info()["framework"]
            card = {key: str(value.value) for key, value in facts.items()}
        except (RuntimeError, KeyError) as error:
            raise WeightsError(f"{self.path} is not an int8 network, or a damaged one") from error
        if card.get("format") != FORMAT:
            raise WeightsError(f"{self.path} was not exported by streamseg's training; it cannot be described")
        return card


def is_quantized(path: Path) -> bool:
    """Return whether a file is named as an int8 network."""
    return path.name.lower().endswith(SUFFIX)
