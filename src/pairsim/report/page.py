"""The page of a report: one HTML file that needs nothing else, neither network nor scripts, to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from pairsim.evaluation.errors.class_errors import ClassErrors
from pairsim.report.findings import Findings, Mistake, Suspect
from pairsim.report.sections import counts, curves, histogram, training
from pairsim.report.texts import flat, percent, text
from pairsim.runs.run_records import RunRecords

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What a browser may load: nothing from elsewhere."""

MOST_CLASSES = 500
"""Classes in the table, at most: more would make the page heavy, and nobody reads them."""

_SECTIONS = (
    ("threshold-section", "Try a threshold"),
    ("figures", "Figures"),
    ("curves", "Curves"),
    ("classes", "Classes"),
    ("mistakes", "Worst mistakes"),
    ("suspects", "Label suspects"),
    ("training", "Training"),
    ("reproduce", "Data, environment, how to reproduce"),
)


def build_page(
    findings: Findings,
    run: RunRecords,
    *,
    title: str,
    data: str,
    split: str,
    source: str,
    environment: Mapping[str, Any],
    made: str,
) -> str:
    """Assemble the page.

    Args:
        findings: What was measured.
        run: What the run says of itself.
        title: Of the page.
        data: The data as it was asked for.
        split: Which images.
        source: Where they came from.
        environment: Versions and device that the figures were made with.
        made: When, in words.

    Returns:
        HTML; every name in it is escaped.
    """
    contents = " · ".join(f'<a href="#{name}">{text}</a>' for name, text in _SECTIONS)
    body = [
        f"<header><a class='skip' href='#verdict'>Skip to the verdict</a><h1>{text(title)}</h1>",
        f"<p class='quiet'>{text(_what(findings, split, source))} Made {text(made)}.</p>",
        f"<nav aria-label='Contents' class='quiet'>{contents}</nav></header><main>",
        _verdict(findings, run, split),
        _threshold(findings),
        _figures(findings),
        curves(findings),
        _classes(findings),
        _mistakes(findings),
        _suspects(findings),
        training(run),
        _reproduce(run, environment, data=data, split=split, source=source),
        "</main><footer><p class='quiet'>Made by pairsim. This page loads nothing from elsewhere.</p></footer>",
    ]
    style, script = (resources.files("pairsim.report").joinpath(name).read_text("utf-8") for name in _FILES)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(title)}</title>",
            f"<style>\n{style}</style></head><body>",
            *body,
            f'<script type="application/json" id="counts">{counts(findings)}</script>',
            f"<script>\n{script}</script></body></html>",
        ]
    )


_FILES = ("page.css", "page.js")


def _what(findings: Findings, split: str, source: str) -> str:
    figures = findings.figures
    return (
        f"All {figures.num_pairs:,} pairs of {figures.num_images:,} images of {len(findings.classes):,} classes: "
        f"{source or 'data given'}{f', {split} split' if split else ''}."
    )


def _verdict(findings: Findings, run: RunRecords, split: str) -> str:
    figures = findings.figures
    lines = []
    if math.isnan(figures.balanced_accuracy):
        kind = "different classes" if figures.num_positive else "the same class"
        lines.append(
            f"<strong>No verdict:</strong> there are no pairs of {kind}, so one of the two error rates cannot be "
            "measured."
        )
    else:
        low, high = figures.intervals.get("balanced_accuracy", (math.nan, math.nan))
        spread = "" if math.isnan(low) else f" (95 % interval {percent(low, 2)} to {percent(high, 2)})"
        lines.append(
            f"<strong>{percent(figures.balanced_accuracy, 2)}</strong> of the decisions are right, same and different "
            f"pairs counting alike{spread}."
        )
        lines.append(
            f"Of 10,000 pairs of different classes some <strong>{figures.fmr * 10_000:,.1f}</strong> are called a "
            f"match; of 10,000 pairs of the same class some <strong>{figures.fnmr * 10_000:,.1f}</strong> are missed, "
            f"at similarity threshold {figures.threshold:.4f}."
        )
    lines += _cautions(findings, run, split)
    return (
        f"<section class='verdict' id='verdict' tabindex='-1'>{''.join(f'<p>{line}</p>' for line in lines)}</section>"
    )


def _cautions(findings: Findings, run: RunRecords, split: str) -> list[str]:
    figures = findings.figures
    lines = []
    point = run.model.get("operating_point")
    if isinstance(point, Mapping):
        lines.append(f"The threshold was chosen for {text(point.get('criterion'))} on {text(point.get('source'))}.")
    if split == "train":
        lines.append("<strong>Careful:</strong> the model was trained on these images. Expect more errors on others.")
    if split == "val":
        lines.append(
            "These images chose the epoch that was kept, and the threshold: expect somewhat more errors on others."
        )
    seen = set(map(str, run.data.get("class_names", ())))
    here = {row.name for row in findings.classes}
    if seen and not here & seen:
        lines.append("Training had none of these classes: the figures are for unseen classes.")
    elif seen and here <= seen:
        lines.append("Training had all of these classes. For classes that it had not, expect more errors.")
    share = figures.num_positive / figures.num_pairs if figures.num_pairs else math.nan
    if not math.isnan(share) and abs(share - figures.prior) > 0.05:
        lines.append(
            f"Probabilities are stated for {figures.prior:.3g} of pairs positive; here {share:.3g} are. Where you meet "
            "another share, calibrate for it."
        )
    return lines


def _threshold(findings: Findings) -> str:
    figures = findings.figures
    last = len(findings.thresholds) - 1
    numbers = (
        ("fmr", "False match rate (FMR)"),
        ("fnmr", "False non-match rate (FNMR)"),
        ("balanced", "Balanced accuracy"),
        ("true-matches", "Same, called a match"),
        ("false-non-matches", "Same, missed"),
        ("false-matches", "Different, called a match"),
        ("true-non-matches", "Different, told apart"),
    )
    cells = "".join(f"<div><dt>{label}</dt><dd id='{name}'>-</dd></div>" for name, label in numbers)
    return (
        "<section id='threshold-section'><h2>Try a threshold</h2>"
        "<p>A pair is called a match when its similarity is at least the threshold. Higher: fewer false matches, more "
        "that are missed. The numbers are exact counts over all pairs. A threshold that is chosen here, on the pairs "
        "that it is judged by, looks better than it will be: choose it on other images with "
        "<code>pairsim calibrate</code>.</p>"
        "<div class='cutter'><label for='threshold'>Similarity threshold</label>"
        f"<input type='range' id='threshold' min='0' max='{last}' step='1' value='0'>"
        "<p><label for='threshold-value'>as a number</label> "
        "<input type='number' id='threshold-value' min='-1' max='1' step='any'> "
        f"<button type='button' id='own-threshold'>Back to the model's, {figures.threshold:.4f}</button></p>"
        f"<dl class='numbers' aria-live='polite'>{cells}</dl></div>"
        f"<div class='charts'><figure>{histogram(findings)}<figcaption>Each kind of pair is drawn as shares of its "
        "own number, as there are usually far fewer positive ones.</figcaption></figure></div></section>"
    )


def _figures(findings: Findings) -> str:
    figures = findings.figures
    rows = [
        ("Balanced accuracy", "balanced_accuracy", figures.balanced_accuracy),
        ("Accuracy", "accuracy", figures.accuracy),
        ("False match rate (FMR)", "fmr", figures.fmr),
        ("False non-match rate (FNMR)", "fnmr", figures.fnmr),
        ("ROC AUC", "roc_auc", figures.roc_auc),
        ("Equal error rate (EER)", "eer", figures.eer),
        *((f"FNMR at FMR {float(t) * 100:g} %", f"fnmr_at_fmr_{t}", v) for t, v in figures.fnmr_at_fmr.items()),
    ]
    cells = "".join(
        f"<tr><th scope='row'>{name}</th><td>{percent(value)}</td><td>{_interval(figures.intervals.get(key))}</td></tr>"
        for name, key, value in rows
    )
    plain = "".join(
        f"<tr><th scope='row'>{name}</th><td>{'-' if math.isnan(value) else f'{value:.4f}'}</td><td></td></tr>"
        for name, value in (
            ("Log-loss (nats)", figures.log_loss),
            ("Brier score", figures.brier),
            ("Calibration error (ECE)", figures.ece),
        )
    )
    return (
        "<section id='figures'><h2>Figures</h2><div class='scroll' tabindex='0' role='region' aria-label='Figures'>"
        "<table><caption>The first four at the model's own threshold; intervals for other images of the same classes, "
        "which respect that pairs share images.</caption><thead><tr><th scope='col'>Figure</th>"
        "<th scope='col'>Value</th><th scope='col'>95 % interval</th></tr></thead>"
        f"<tbody>{cells}{plain}</tbody></table></div></section>"
    )


def _interval(found: tuple[float, float] | None) -> str:
    if found is None or any(map(math.isnan, found)):
        return "not computed"
    return f"{percent(found[0])} to {percent(found[1])}"


def _classes(findings: Findings) -> str:
    heads = ("Class", "Images", "FNMR within", "missed", "FMR with others", "false matches")
    head = "".join(f"<th scope='col'><button type='button'>{text}</button></th>" for text in heads)
    rows = []
    shown = sorted(findings.classes, key=_errors, reverse=True)[:MOST_CLASSES]
    left_out = len(findings.classes) - len(shown)
    told = f" The {len(shown):,} with the most errors; {left_out:,} others are left out." if left_out else ""
    for row in shown if left_out else findings.classes:
        values: tuple[tuple[str | float, str], ...] = (
            (row.name, row.name),
            (row.num_images, f"{row.num_images:,}"),
            (row.fnmr, _short(row.fnmr)),
            (row.false_non_matches, f"{row.false_non_matches:,} of {row.num_positive:,}"),
            (row.fmr, _short(row.fmr)),
            (row.false_matches, f"{row.false_matches:,} of {row.num_negative:,}"),
        )
        cells = "".join(
            f"<td data-value='{text(-1 if isinstance(key, float) and math.isnan(key) else key)}'>{text(shown)}</td>"
            for key, shown in values
        )
        rows.append(f"<tr>{cells}</tr>")
    return (
        "<section id='classes'><h2>Classes</h2>"
        f"<p>A heading sorts by its column.{told}</p>"
        "<div class='scroll' tabindex='0' role='region' aria-label='Errors of each class'>"
        f"<table class='sortable'><caption>Errors at threshold {findings.figures.threshold:.4f}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _errors(row: ClassErrors) -> int:
    return row.false_non_matches + row.false_matches


def _short(value: float) -> str:
    return "-" if math.isnan(value) else percent(value, 2)


def _mistakes(findings: Findings) -> str:
    return (
        "<section id='mistakes'><h2>Worst mistakes</h2>"
        f"<h3>Different, called a match: the most similar of {findings.num_false_matches:,}</h3>"
        f"{_cards(findings.false_matches, 'No pair of different classes is called a match.')}"
        f"<h3>Same, missed: the least similar of {findings.num_false_non_matches:,}</h3>"
        f"{_cards(findings.false_non_matches, 'No pair of the same class is missed.')}</section>"
    )


def _cards(mistakes: Sequence[Mistake], none: str) -> str:
    if not mistakes:
        return f"<p>{none}</p>"
    items = []
    for found in mistakes:
        images = "".join(
            f"<img src='{uri}' alt='Image {number}, class {text(name)}'> "
            for uri, number, name in zip(found.images, found.numbers, found.names, strict=True)
        )
        first, second = found.names
        items.append(
            f"<li>{images}<p>{text(first)} (no. {found.numbers[0]}) and {text(second)} (no. {found.numbers[1]})</p>"
            f"<p>similarity {found.similarity:.4f}, probability {found.probability:.3f}</p></li>"
        )
    return f"<ul class='cards'>{''.join(items)}</ul>"


def _suspects(findings: Findings) -> str:
    def card(found: Suspect) -> str:
        return (
            f"<li class='alone'><img src='{found.image}' alt='Image {found.number}, class {text(found.name)}'>"
            f"<p>No. {found.number}: labelled {text(found.name)}, looks like {text(found.proposed)} "
            f"(by {found.margin:.3f} in similarity)</p></li>"
        )

    shown = (
        f"<p>Images that are more similar to those of another class: {findings.num_suspects:,}. Some are mislabelled, "
        "others hard. Look before you change a label.</p>"
        f"<ul class='cards'>{''.join(map(card, findings.suspects))}</ul>"
        if findings.suspects
        else "<p>No image is more similar to those of another class than to those of its own.</p>"
    )
    return f"<section id='suspects'><h2>Label suspects</h2>{shown}</section>"


def _reproduce(run: RunRecords, environment: Mapping[str, Any], *, data: str, split: str, source: str) -> str:
    settings = {
        key: run.config[key]
        for key in ("objective", "epochs", "batch_size", "optimizer", "learning_rate", "scheduler", "augment", "seed")
        if key in run.config
    }
    preprocessing = run.model.get("preprocessing", {})
    facts = [
        ("Images", f"{source}{f' ({split})' if split else ''}"),
        ("Protocol", "all pairs of these images, each embedded once"),
        ("Run", run.name),
        ("Model", flat(run.model.get("architecture", {}))),
        ("Preprocessing", flat(preprocessing)),
        ("Training data", flat({k: run.data[k] for k in ("data", "num_images") if k in run.data})),
        ("Training", flat(settings) or "not recorded"),
        ("Trained with", flat(run.run.get("environment", {})) or "not recorded"),
        ("Judged with", flat(environment)),
        ("Weights (SHA-256)", str(run.model.get("weights_sha256", "not recorded"))),
    ]
    rows = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts)
    name = f"RUN {data or 'DATA'}{f' --split {split}' if split and split != 'test' else ''}"
    commands = f"pairsim evaluate {name}\npairsim report {name} --out report.html"
    return (
        "<section id='reproduce'><h2>Data, environment, how to reproduce</h2>"
        f"<dl class='facts'>{rows}</dl><pre tabindex='0'><code>{text(commands)}</code></pre></section>"
    )
