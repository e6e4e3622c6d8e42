"""What `pairsim duplicates` does with the duplicates it found: show, move, link, and undo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pairsim._common.choices import OnError
from pairsim.cli.arguments import check_out
from pairsim.cli.output import expect, note, print_result

if TYPE_CHECKING:
    from pairsim.audits.duplicates.duplicate_report import DuplicateReport
    from pairsim.audits.duplicates.moving.moves import MovePlan, MoveResult, Stamps


def check_options(
    folder: Path,
    against: Path | None,
    page: Path | None,
    move_to: Path | None,
    *,
    link: bool,
    decisions: Path | None,
    apply: bool,
) -> None:
    """Check the options before the search.

    Raises:
        RunError: If a path cannot be written.
        UsageError: If options do not fit together.
    """
    expect(move_to is None or not link, "one of --move-to and --link, got both.")
    does_something = move_to is not None or link
    expect(does_something or not apply, "--move-to DIR or --link with --apply.")
    expect(does_something or decisions is None, "--move-to DIR or --link with --decisions.")
    if page is not None:
        ending = page.suffix.lower()
        expect(ending in (".html", ".htm"), f"--page to end in .html or .htm, got {page.name}.")
        check_out(page)
    if move_to is not None:
        from pairsim.audits.duplicates.moving.moves import check_target

        for searched in (folder, against):
            if searched is not None:
                check_target(searched, move_to)
    if decisions is not None:
        from pairsim._common.storage import read_json

        read_json(decisions)


def stamps_before(folder: Path, against: Path | None, on_error: OnError) -> Stamps:
    """Take the stamps of the pictures of a folder, and of one compared against, before they are read."""
    from pairsim.audits.duplicates.listed_pictures import listed
    from pairsim.audits.duplicates.moving.moves import stamps_of
    from pairsim.images.folders import scan

    pictures = listed(scan(folder, on_error), None if against is None else scan(against, on_error))
    return stamps_of(folder, [one.name for one in pictures])


def write_page(report: DuplicateReport, folder: Path, page: Path) -> None:
    """Write the page and say so."""
    from pairsim.report.duplicate_page import write_duplicate_page

    write_duplicate_page(report, folder, page)
    note(f"Page written to {page}, {page.stat().st_size / 1e6:.1f} MB.")


def clean_up(
    report: DuplicateReport,
    folder: Path,
    stamps: Stamps,
    move_to: Path | None,
    decisions: Path | None,
    *,
    apply: bool,
) -> MovePlan | MoveResult:
    """Plan to move or link duplicates, and do it if asked to."""
    from pairsim.audits.duplicates.moving.move_journal import journal_name
    from pairsim.audits.duplicates.moving.moves import apply_moves, plan_moves
    from pairsim.audits.duplicates.moving.page_decisions import decided

    if decisions is not None:
        report = decided(report, decisions, folder, move_to)
    plan = plan_moves(report, folder, stamps, move_to)
    if not apply:
        return plan
    journal = plan.target / journal_name()
    if plan.files:
        note(f"Journal: {journal}")
    return apply_moves(plan, stamps, journal)


def undo_journal(journal: Path, json: bool) -> None:
    """Undo what a journal holds.

    Raises:
        RunError: If the journal cannot be read, or files were not restored.
    """
    from pairsim.audits.duplicates.moving.undo import undo_moves
    from pairsim.errors import RunError

    done = undo_moves(journal)
    print_result(done.to_dict(), done.describe(), json)
    if done.refused:
        raise RunError(
            f"Expected to restore all files, but {len(done.refused):,} or what is at their place was changed since. "
            "They are listed above. Move what is in the way, then run the same command again."
        )
