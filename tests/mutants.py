"""Take each protection away in turn, in a copy of the sources, and check that a test notices.

Run by `make mutants`. Each entry of `MUTANTS` is a protection: a file of `src/pairsim`, text that it has exactly once,
what replaces this text, and tests of which one at least has to fail then. The exit status is 1 if a change survives, if
the text is not found exactly once, or if the tests fail without a change. Names as arguments select some entries.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = Path("src") / "pairsim"
SURVIVED, UNCLEAR, HANGS = 0, 2, -signal.SIGALRM


class Mutant(NamedTuple):
    """A protection that is taken away."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


ORDER = "tests/faults/test_write_order.py"
FULL_DISK = "tests/unit/_common/test_storage.py::test_full_disk_leaves_the_old_file_and_nothing_else"
FLIPPED = "tests/unit/_common/test_storage.py::test_folder_round_trip_and_every_flipped_bit_is_found"
RESTORED = "            saved = state[name]"

MUTANTS = (
    Mutant("file-sync", "_common/storage.py", "        os.fsync(file.fileno())", "        pass", (ORDER,)),
    Mutant("folder-sync", "_common/storage.py", "        os.fsync(handle)", "        pass", (ORDER,)),
    Mutant("rename", "_common/storage.py", "os.replace(beside, path)", "shutil.copy(beside, path)", (ORDER,)),
    Mutant(
        "leftovers",
        "_common/storage.py",
        "            _delete(beside)\n            raise",
        "            raise",
        (FULL_DISK,),
    ),
    Mutant("checksums", "_common/storage.py", "if sha256(content) != expected:", "if False:", (FLIPPED,)),
    Mutant(
        "regular-files",
        "_common/storage.py",
        "if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):",
        "if False:",
        ("tests/unit/_common/test_storage.py::test_only_files_are_read_and_nothing_is_waited_for",),
    ),
    Mutant(
        "weights-checksum",
        "models/pretrained.py",
        'if storage.sha256(content) == config.get("weights_sha256"):',
        "if True:",
        ("tests/unit/models/test_pretrained.py::test_damaged_and_foreign_folders",),
    ),
    Mutant(
        "nan-in-weights",
        "models/pretrained.py",
        "    if name := name_of_nan(weights):",
        "    if name := None:",
        ("tests/unit/models/test_pretrained.py::test_weights_with_nan_are_named",),
    ),
    Mutant(
        "nan-in-checkpoints",
        "training/checkpointing/run_folder.py",
        "if name := name_of_nan(tensors):",
        "if name := None:",
        ("tests/unit/training/checkpointing/test_run_folder.py::test_a_checkpoint_with_nan_is_passed_over",),
    ),
    Mutant(
        "nan-before-saving",
        "training/trainer.py",
        "if is_last or saves or state.step % _CHECK_EVERY == 0:",
        "if state.step % _CHECK_EVERY == 0:",
        ("tests/unit/training/test_interruption.py::test_weights_that_are_not_finite_are_not_saved_on_interruption",),
    ),
    Mutant(
        "other-data",
        "training/checkpointing/run_folder.py",
        "if data != now:",
        "if False:",
        ("tests/unit/training/checkpointing/test_run_folder.py::test_changed_data_is_rejected",),
    ),
    Mutant(
        "gallery-checksum",
        "_common/json_files.py",
        "if is_seal != (key == KEY):",
        "if False:",
        ("tests/unit/search/test_gallery_files.py::test_every_flipped_bit_is_found",),
    ),
    Mutant(
        "weights-only",
        "models/backbones/building.py",
        "weights_only=True",
        "weights_only=False",
        ("tests/unit/models/backbones/test_building.py::test_files_that_are_no_state_dict",),
    ),
    Mutant(
        "objects-in-npy",
        "data/named/embedding_files.py",
        '{"embeddings": np.load(content, allow_pickle=False)}',
        '{"embeddings": np.load(content, allow_pickle=True)}',
        ("tests/unit/data/named/test_embedding_files.py::test_npy_with_a_table_beside_it",),
    ),
    Mutant(
        "decoding-limit",
        "images/headers.py",
        "if width * height > max_pixels:",
        "if False:",
        ("tests/unit/images/test_bad_files.py::test_pixels_are_counted_before_they_are_decoded",),
    ),
    Mutant(
        "postscript",
        "images/reading.py",
        'if image.format == "EPS" and',
        "if False and",
        ("tests/unit/images/test_bad_files.py::test_postscript_is_not_run",),
    ),
    Mutant(
        "escape-report",
        "report/rendering.py",
        "autoescape=True",
        "autoescape=False",
        ("tests/unit/report/test_rendering.py",),
    ),
    Mutant(
        "escape-card",
        "_common/markdown.py",
        r'return _SPECIAL.sub(r"\\\1", text)',
        "return text",
        ("tests/unit/_common/test_markdown.py::test_any_name_is_text_in_a_cell",),
    ),
    Mutant(
        "escape-pair-tables",
        "visual/pictures/pair_tables.py",
        'escape="html", ',
        "",
        ("tests/unit/visual/pictures/test_pair_tables.py",),
    ),
    Mutant(
        "app-host",
        "integrations/app_requests.py",
        "if not self._accepts(host):",
        "if False:",
        ("tests/unit/integrations/test_app_requests.py::test_requests_for_another_host_are_rejected",),
    ),
    Mutant(
        "app-size",
        "integrations/app_requests.py",
        "_limited(receive), send",
        "receive, send",
        (
            "tests/unit/integrations/test_app_requests.py::"
            "test_large_requests_are_rejected_by_what_they_state_and_by_what_they_send",
        ),
    ),
    Mutant(
        "app-folders",
        "cli/pictures/serve_app.py",
        "if data not in NAMES:",
        "if False:",
        ("tests/cli/pictures/test_serve_app.py::test_a_run_cannot_make_the_app_show_a_folder",),
    ),
    Mutant(
        "app-pixels",
        "integrations/web_app.py",
        "return None if source is None else read_image(source, max_pixels=_MAX_PIXELS)",
        "return None if source is None else read_image(source)",
        ("tests/unit/integrations/test_web_app.py::test_large_pictures_are_not_decoded",),
    ),
    Mutant(
        "app-names",
        "integrations/web_app.py",
        "gr.Error(html.escape(str(error)), ",
        "gr.Error(str(error), ",
        ("tests/unit/integrations/test_web_app.py::test_errors_with_names_are_escaped",),
    ),
    Mutant(
        "service-token",
        "integrations/service/access.py",
        'if scheme.lower() == b"bearer" and hmac.compare_digest(stated.strip(), self._token):',
        "if True:",
        ("tests/unit/integrations/service/test_access.py::test_the_token_is_asked_of_everybody",),
    ),
    Mutant(
        "service-host",
        "integrations/service/access.py",
        "if host not in self._local:",
        "if False:",
        ("tests/unit/integrations/service/test_access.py::test_without_a_token_pages_of_other_sites_are_refused",),
    ),
    Mutant(
        "service-origin",
        "integrations/service/access.py",
        "if origin is not None and",
        "if False and",
        ("tests/unit/integrations/service/test_access.py::test_without_a_token_pages_of_other_sites_are_refused",),
    ),
    Mutant(
        "service-waiting",
        "integrations/service/batching.py",
        "or self.waiting + len(pictures) > self._max_waiting:",
        "or False:",
        ("tests/unit/integrations/service/test_batching.py::test_no_more_waits_than_is_allowed",),
    ),
    Mutant(
        "service-save",
        "integrations/service/gallery_keeper.py",
        "                self._gallery.save(self._folder)",
        "                pass",
        ("tests/unit/integrations/service/test_gallery_keeper.py::test_what_was_answered_is_on_disk",),
    ),
    Mutant(
        "service-reload",
        "integrations/service/gallery_keeper.py",
        "            self._reload()",
        "            pass",
        (
            "tests/unit/integrations/service/test_gallery_keeper.py::test_a_save_that_fails_leaves_the_gallery_as_it_is_on_disk",
        ),
    ),
    Mutant(
        "service-lock",
        "integrations/service/gallery_keeper.py",
        "        self._stack.enter_context(locked_folder(folder))",
        "        folder.mkdir(exist_ok=True)",
        ("tests/unit/integrations/service/test_gallery_keeper.py::test_one_process_at_a_time",),
    ),
    Mutant(
        "poor-refused",
        "encoding/pictures.py",
        'elif flaws and quality == "refuse":',
        "elif False:",
        ("tests/unit/search/test_gallery_rows.py::test_poor_pictures_are_named_or_refused",),
    ),
    Mutant(
        "upload-name",
        "images/reading.py",
        "image.open if isinstance(image, PictureFile) else partial(open_file, name)",
        "partial(open_file, name)",
        ("tests/unit/images/test_picture_file.py::test_its_name_is_never_opened",),
    ),
    Mutant(
        "signal-while-importing",
        "cli/signals.py",
        "elif _Next.may_raise and not _is_importing(frame):",
        "elif _Next.may_raise:",
        ("tests/cli/test_signals.py::test_a_signal_while_importing_ends_without_a_traceback",),
    ),
    Mutant(
        "second-signal",
        "cli/signals.py",
        "        _Next.may_raise = False\n        raise",
        "        raise",
        ("tests/cli/test_signals.py::test_the_first_signal_interrupts_and_the_second_ends",),
    ),
    Mutant(
        "signal-at-step",
        "training/trainer.py",
        "saves = ends or (",
        "saves = (",
        ("tests/unit/training/test_interruption.py::test_without_a_run_folder_it_says_that_nothing_is_saved",),
    ),
    Mutant(
        "signal-after-last-step",
        "cli/signals.py",
        "    if _Next.was_called:",
        "    if False:",
        ("tests/cli/test_signals.py::test_a_signal_after_the_last_step_is_not_lost",),
    ),
    Mutant(
        "lock",
        "training/checkpointing/run_lock.py",
        "        lock.acquire()\n",
        "        pass\n",
        (
            "tests/unit/training/checkpointing/test_run_lock.py::test_a_folder_in_use_is_not_changed_and_the_holder_is_named",
        ),
    ),
    Mutant(
        "other-images",
        "training/checkpointing/run_folder.py",
        "if not accepts_images and not all(",
        "if False and not all(",
        ("tests/unit/training/checkpointing/test_changed_images.py::test_other_pixels_in_memory",),
    ),
    Mutant(
        "log-of-checkpoint",
        "training/checkpointing/run_folder.py",
        'if storage.sha256(json_files.sealed_lines(records)) != log["sha256"]:',
        "if False:",
        ("tests/unit/training/checkpointing/test_checkpoint.py::test_a_log_that_was_changed_is_named",),
    ),
    Mutant(
        "bare-names",
        "_common/storage.py",
        "if not is_bare(name):",
        "if False:",
        ("tests/faults/test_hostile_files.py::test_checksums_name_only_files_of_their_folder",),
    ),
    Mutant(
        "gallery-counts",
        "search/gallery_files.py",
        "if sum(shard.num_kept for shard in shards) != count or",
        "if False or",
        ("tests/faults/test_hostile_files.py::test_counts_of_a_gallery",),
    ),
    Mutant(
        "gallery-rows",
        "search/gallery_files.py",
        "if size != 8 + len(header) + 4 * rows * dim or",
        "if False and",
        ("tests/faults/test_hostile_files.py::test_counts_of_a_gallery",),
    ),
    Mutant(
        "gallery-replaced",
        "search/gallery_rows.py",
        "        if not replace:\n",
        "        if False:\n",
        ("tests/unit/search/test_gallery_files.py::test_another_gallery_is_replaced_only_on_request",),
    ),
    Mutant(
        "gallery-changed",
        "search/gallery_files.py",
        "(state.folder == folder.resolve() and state.sha256 == _index_sha256(folder))",
        "state.folder == folder.resolve()",
        ("tests/unit/search/test_gallery_files.py::test_a_change_by_another_process_is_not_lost",),
    ),
    Mutant(
        "gallery-second-writer",
        "search/stored_gallery.py",
        "if gallery_files.read_index(self.folder, None) != self.index:",
        "if False:",
        ("tests/unit/search/test_stored_gallery.py::test_of_two_writers_the_second_is_told",),
    ),
    Mutant(
        "gallery-escaped-ids",
        "search/stored_gallery.py",
        ' and b"\\\\" not in content',
        "",
        ("tests/unit/search/test_stored_gallery.py::test_ids_that_another_program_escaped_are_found",),
    ),
    Mutant(
        "few-identities",
        "search/identification/calibrating.py",
        "    if unknown < MIN_IDENTITIES:",
        "    if False:",
        ("tests/unit/search/identification/test_calibrating.py::test_too_little_is_refused",),
    ),
    Mutant(
        "few-searches",
        "evaluation/identification.py",
        "        if self.num_non_mated < needed:",
        "        if False:",
        ("tests/unit/evaluation/test_identification.py::test_threshold_needs_searches",),
    ),
    Mutant(
        "parts-of-weights",
        "models/backbones/building.py",
        "        _check_parts(file)\n",
        "        pass\n",
        ("tests/faults/test_hostile_files.py::test_a_damaged_part_of_a_torch_file_is_named",),
    ),
    Mutant(
        "escape-codes",
        "errors.py",
        "if text.isprintable():",
        "if True:",
        ("tests/cli/test_hostile_names.py::test_commands_print_no_control_characters",),
    ),
    Mutant(
        "nan-in-memory",
        "models/weight_names.py",
        "if name := next(bad, None) or next(known, None):",
        "if False:",
        ("tests/unit/models/inference/test_inference_nets.py::test_weights_that_are_not_numbers",),
    ),
    Mutant(
        "checkpoint-in-place",
        "_common/storage.py",
        "        with _in_place_of(path) as beside:\n            beside.mkdir()",
        "        with contextlib.nullcontext(path) as beside:\n            beside.mkdir()",
        (ORDER,),
    ),
    Mutant(
        "best-loss",
        "training/training_state.py",
        RESTORED,
        f'{RESTORED} if name != "best_loss" else value',
        ("tests/unit/training/test_resume.py::test_a_resumed_run_knows_the_best_loss_so_far",),
    ),
    Mutant(
        "stopped",
        "training/training_state.py",
        RESTORED,
        f'{RESTORED} if name != "stopped" else value',
        ("tests/unit/training/test_resume.py::test_a_run_that_was_stopped_stays_stopped",),
    ),
    Mutant(
        "preprocessing-on-resume",
        "training/training_state.py",
        "        self.model.preprocessing = preprocessing\n",
        "",
        (
            "tests/unit/training/test_training_state.py"
            "::test_preprocessing_is_restored_where_the_weights_do_not_hold_it",
        ),
    ),
    Mutant(
        "check-before-checkpoint",
        "training/trainer.py",
        "if is_last or saves or state.step % _CHECK_EVERY == 0:",
        "if is_last or state.step % _CHECK_EVERY == 0:",
        ("tests/unit/training/test_trainer.py::test_a_gradient_that_is_not_finite_never_reaches_the_run",),
    ),
    Mutant(
        "skipped-steps",
        "training/trainer.py",
        " or skipped):",
        "):",
        ("tests/unit/training/test_trainer.py::test_the_schedule_waits_where_the_gradient_scaler_skips_an_update",),
    ),
    Mutant(
        "hanging-worker",
        "data/loading/workers.py",
        "if (worker := watch.hanging()) is None:",
        "if (worker := None) is None:",
        ("tests/unit/data/loading/test_workers.py::test_a_picture_file_that_hangs_is_named",),
    ),
    Mutant(
        "moves-overwrite",
        "audits/duplicates/moving/file_changes.py",
        "        if os.path.lexists(target):",
        "        if False:",
        ("tests/unit/audits/duplicates/moving/test_file_changes.py::test_a_move_overwrites_nothing",),
    ),
    Mutant(
        "moves-changed",
        "audits/duplicates/moving/moves.py",
        "if found is None or found.content != expected.content or",
        "if found is None or",
        ("tests/unit/audits/duplicates/moving/test_moves.py::test_files_that_were_changed_stay",),
    ),
    Mutant(
        "undo-changed",
        "audits/duplicates/moving/undo.py",
        "if at_new is None or not has(new, step.size, step.content_sha256):",
        "if at_new is None:",
        (
            "tests/unit/audits/duplicates/moving/test_undo.py::test_what_was_changed_since_is_refused_and_the_rest_restored",
        ),
    ),
    Mutant(
        "index-changed",
        "audits/duplicates/picture_index.py",
        "WHERE path = ? AND stamp = ?",
        "WHERE path = ? AND ? <> ''",
        ("tests/unit/audits/duplicates/test_picture_index.py::test_changed_files_are_not_known",),
    ),
    Mutant(
        "index-other-file",
        "audits/duplicates/picture_index.py",
        "if (tables, application) not in (([], 0), ([_TABLE], _APPLICATION)):",
        "if False:",
        ("tests/unit/audits/duplicates/test_picture_index.py::test_other_files_are_named_and_left_alone",),
    ),
    Mutant(
        "later-pictures",
        "audits/duplicates/animations.py",
        "            elif one.digest != other.digest:",
        "            elif False:",
        ("tests/unit/audits/duplicates/test_animations.py::test_animations_that_begin_alike_are_no_copies",),
    ),
)


class Failures:
    """Collects the tests that fail."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.names.append(report.nodeid)


def run_tests(folder: Path, tests: tuple[str, ...], limit_s: int) -> tuple[int, str]:
    """Run tests against the sources in a folder, in a forked process, so that PyTorch is imported once for all.

    Returns:
        The status of pytest, or `HANGS` after `limit_s`; and the first test that failed, or what was printed if none
        could run.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        signal.alarm(limit_s)
        status, first = UNCLEAR, ""
        try:
            status, first = _run_here(folder, tests)
        except BaseException:
            traceback.print_exc()
        finally:  # not the end of the parent's blocks
            os.write(writer, first.encode())
            os._exit(status)
    os.close(writer)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == HANGS:
        with contextlib.suppress(ProcessLookupError):  # nothing is left of it
            os.killpg(child, signal.SIGKILL)  # what the tests started, which also has the pipe
    with open(reader) as answers:
        first = answers.read()
    return status, first or (folder / "printed").read_text(errors="replace")[-2_000:]


def _run_here(folder: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    printed = os.open(folder / "printed", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.path.insert(0, str(folder / "src"))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder / "src"), os.environ.get("PYTHONPATH", "")])
    os.chdir(ROOT)
    failures = Failures()
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not mnist and not gpu"]
    status = int(pytest.main([*options, *tests], plugins=[failures]))
    import pairsim

    is_copy = Path(pairsim.__file__).is_relative_to(folder)  # else other sources were tested
    return status if is_copy else UNCLEAR, (failures.names or [""])[0]


def verdict(folder: Path, mutant: Mutant) -> tuple[bool, str]:
    """Apply a change, run its tests, and take the change back; returns whether a test noticed, and which."""
    file = folder / SOURCE / mutant.file
    before = file.read_text(encoding="utf-8")
    if before.count(mutant.old) != 1:
        return False, f"expected {mutant.old!r} once in {mutant.file}, found it {before.count(mutant.old)} times"
    file.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        status, said = run_tests(folder, mutant.tests, limit_s=60)
    finally:
        file.write_text(before, encoding="utf-8")
    if status == SURVIVED:
        return False, f"SURVIVED: none of {', '.join(mutant.tests)} failed"
    if status == HANGS:
        return True, f"{mutant.tests[0]}, which does not end"
    return (True, said) if status == 1 else (False, f"the tests did not run (status {status}): {said}")


def main(names: list[str]) -> int:
    """Try the mutants of these names, or all; returns the exit status."""
    import numpy  # noqa: F401  imported once, before the processes are forked
    import torch
    import torchvision  # noqa: F401

    torch.set_num_threads(1)  # a forked process has none of the other threads
    sys.dont_write_bytecode = True  # a change within a second, to text of the same length, would not be seen
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    chosen = [mutant for mutant in MUTANTS if mutant.name in names or not names]
    began, survived = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="pairsim-mutants-") as place:
        folder = Path(place)
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        status, said = run_tests(folder, tuple(dict.fromkeys(test for mutant in chosen for test in mutant.tests)), 600)
        if status != 0:
            print(f"Expected the tests to pass without a change, found status {status}: {said}")
            return 1
        for mutant in chosen:
            noticed, said = verdict(folder, mutant)
            survived += not noticed
            print(f"{mutant.name:<24}{'noticed by ' if noticed else ''}{said}", flush=True)
    print(f"{len(chosen)} protections taken away, {survived} not noticed, {time.monotonic() - began:.0f} s")
    return 1 if survived or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
