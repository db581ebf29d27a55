"""Peak arithmetic of devices, for the model FLOPs utilisation (MFU): data, with where it comes from.

Dense figures (without structured sparsity) in TFLOP/s of the makers' data sheets, at boost clock. Where a
data sheet prints only the figure with sparsity, half of it. A device that is not here has no MFU: a guessed
peak would be worse than none.
"""

from __future__ import annotations

from typing import NamedTuple


class Peak(NamedTuple):
    """TFLOP/s of one device; None: it cannot, or its maker does not say."""

    name: str
    """Part of the device's name as NVML and torch give it; the first that matches counts."""
    fp32: float
    tf32: float | None
    half: float | None
    """bf16 and fp16 with fp32 accumulation."""
    source: str


PEAKS: tuple[Peak, ...] = (
    Peak("GB200", 80.0, 1250.0, 2500.0, "NVIDIA GB200 NVL72 data sheet"),
    Peak("B200", 75.0, 1125.0, 2250.0, "NVIDIA HGX B200 data sheet"),
    Peak("GH200", 67.0, 494.5, 989.4, "NVIDIA GH200 data sheet"),
    Peak("H200", 67.0, 494.5, 989.4, "NVIDIA H200 data sheet"),
    Peak("H100 PCIe", 51.2, 378.0, 756.0, "NVIDIA H100 data sheet"),
    Peak("H100 NVL", 60.0, 417.5, 835.5, "NVIDIA H100 NVL data sheet"),
    Peak("H100", 66.9, 494.7, 989.4, "NVIDIA H100 data sheet (SXM)"),
    Peak("H800", 66.9, 494.7, 989.4, "as H100 SXM; its links are slower"),
    Peak("H20", 44.0, 74.0, 148.0, "NVIDIA H20 data sheet"),
    Peak("A100", 19.5, 156.0, 312.0, "NVIDIA A100 data sheet"),
    Peak("A800", 19.5, 156.0, 312.0, "as A100; its links are slower"),
    Peak("A30", 10.3, 82.0, 165.0, "NVIDIA A30 data sheet"),
    Peak("A40", 37.4, 74.8, 149.7, "NVIDIA A40 data sheet"),
    Peak("A10G", 35.0, 35.0, 70.0, "NVIDIA A10G data sheet"),
    Peak("A10", 31.2, 62.5, 125.0, "NVIDIA A10 data sheet"),
    Peak("L40S", 91.6, 183.0, 362.05, "NVIDIA L40S data sheet"),
    Peak("L40", 90.5, 90.5, 181.05, "NVIDIA L40 data sheet"),
    Peak("L4", 30.3, 60.0, 121.0, "NVIDIA L4 data sheet"),
    Peak("T4", 8.1, None, 65.0, "NVIDIA T4 data sheet (fp16; it has no bf16)"),
    Peak("V100", 15.7, None, 125.0, "NVIDIA V100 data sheet (SXM2, fp16; it has no bf16)"),
    Peak("P100", 10.6, None, 21.2, "NVIDIA P100 data sheet (SXM2, fp16)"),
    Peak("RTX A6000", 38.7, 77.4, 154.8, "NVIDIA RTX A6000 data sheet"),
    Peak("RTX 6000 Ada", 91.1, 182.1, 364.2, "NVIDIA RTX 6000 Ada data sheet"),
    Peak("RTX 4090", 82.6, 82.6, 165.2, "NVIDIA Ada GPU architecture paper (fp32 accumulation)"),
    Peak("RTX 4080", 48.7, 48.7, 97.5, "NVIDIA Ada GPU architecture paper (fp32 accumulation)"),
    Peak("RTX 3090", 35.6, 35.6, 71.0, "NVIDIA Ampere GA102 paper (fp32 accumulation)"),
    Peak("RTX 3080", 29.8, 29.8, 59.5, "NVIDIA Ampere GA102 paper (fp32 accumulation)"),
)


def peak_flops(device: str | None, precision: str) -> tuple[float, str] | None:
    """(FLOP/s, source) of a device by its name at a precision of `--precision`. None: not known."""
    if not device:
        return None
    words = _words(device)
    for peak in PEAKS:
        if _words(peak.name) <= words:
            tera = {"fp32": peak.fp32, "tf32": peak.tf32, "bf16": peak.half, "fp16": peak.half}.get(precision)
            return None if tera is None else (tera * 1e12, peak.source)
    return None


def _words(name: str) -> frozenset[str]:
    """`NVIDIA A100-SXM4-80GB` -> its words, so that A10 is not found in A100."""
    return frozenset(name.lower().replace("-", " ").replace("_", " ").split())
