"""The section of a model card on searches in a gallery."""

from __future__ import annotations

import math

from pairsim._common import markdown as md
from pairsim.search import IdentificationReport

_RANKS = (1, 5, 20)


def identification_of(report: IdentificationReport) -> list[str]:
    """Return the paragraphs on the errors of a gallery of the model.

    Args:
        report: Result of `evaluate_gallery`.
    """
    at, of = f"{report.threshold:.4f}", report.conditions
    known = not math.isnan(report.threshold)
    rows = [
        ("FPIR: not enrolled, but assigned an identity", md.rate(report.fpir), md.interval(report.fpir_interval)),
        ("FNIR: enrolled, but not found", md.rate(report.fnir), md.interval(report.fnir_interval)),
    ]
    at_fpir = [
        (f"FNIR at an FPIR of {float(target):.2%}", md.rate(rate), "") for target, rate in report.fnir_at_fpir.items()
    ]
    ranks = [
        (
            f"Right identity up to rank {rank}",
            md.rate(report.cmc[rank - 1]),
            md.interval(report.rank_1_interval) if rank == 1 else "",
        )
        for rank in _RANKS
        if rank <= len(report.cmc)
    ]
    paragraphs = [
        f"In a gallery of {report.num_enrolled:,} identities: {report.num_mated:,} searches for {report.num_known:,} "
        f"of them, and {report.num_non_mated:,} for {report.num_unknown:,} others"
        f"{f', at similarity threshold {at}' if known else ', without a threshold'}. Rates of a larger gallery differ.",
        md.table(("Figure", "Value", "95 % interval"), [*(rows if known else ()), *at_fpir, *ranks]),
        "Intervals hold for other identities of the same kind.",
    ]
    if of is not None:
        enrolled = of.enrolled
        paragraphs.append(
            f"Decision: {of.policy}. Threshold: {md.escape(of.threshold_origin)}. Each identity is enrolled with "
            f"{enrolled.min:,} to {enrolled.max:,} pictures. Failures to enrol: {of.num_failed_to_enrol:,}; "
            f"failures to acquire: {of.num_failed_to_acquire:,}."
        )
    return paragraphs
