"""Repairs of the installed fairseq, so that its own commands work on current Python, torch and numpy.

Each repair is one function. It first probes for its defect and leaves a healthy fairseq alone, so
:func:`apply` may be called any number of times, and a fairseq release that mends a defect needs no
change here. Nothing heavy is imported before :func:`apply` runs.
"""

from __future__ import annotations

from fairseq_mos.compat.memory import keep_freed_memory
from fairseq_mos.compat.reporting import report_user_errors, silence_noise

__all__ = ["apply", "report_user_errors", "silence_noise"]


def apply() -> list[str]:
    """Repairs the installed fairseq in this process; call it when the plugin is imported.

    Returns:
        The names of the repairs that this call made; empty from the second call on.
    """
    from fairseq_mos.compat import (
        arguments,
        batching,
        beginning,
        checkpoints,
        data,
        ending,
        finished,
        launching,
        literals,
        loading,
        locking,
        masking,
        numbers,
        numpy2,
        reporting,
        resuming,
        schedules,
        scoring,
        validation,
    )

    repairs = (
        reporting.repair_user_errors,
        reporting.repair_hydra_errors,
        literals.repair_eval,
        loading.repair_safe_globals,
        loading.repair_interpolations,
        loading.repair_checkpoint_errors,
        loading.repair_missing_restore_file,
        loading.repair_load_errors_in_training,
        batching.repair_lost_sentences,
        batching.repair_uncounted_batches,
        data.repair_damaged_data,
        data.repair_damaged_dictionaries,
        data.repair_unequal_sides,
        data.repair_missing_data,
        resuming.repair_epoch_boundary,
        resuming.repair_broadcast,
        resuming.repair_loss_scaler,
        resuming.repair_early_stopping,
        finished.repair_finished_training,
        beginning.repair_unready_criterion,  # after the former, whose limits it reads
        locking.repair_shared_save_dir,
        validation.repair_empty_translations,
        validation.repair_best_metric,
        checkpoints.repair_copy,
        checkpoints.repair_full_disk,
        checkpoints.repair_save_dir_error,
        arguments.repair_bf16,
        arguments.repair_cpu_defaults,
        arguments.repair_validate_task,
        arguments.repair_help,
        arguments.repair_parser_errors,
        arguments.repair_lists,
        numbers.repair_number_ranges,
        schedules.repair_schedule_errors,
        numpy2.repair_aliases,
        launching.repair_silent_launch,
        launching.repair_stray_rank,
        scoring.repair_bleu_tokenizer,
        masking.repair_whole_word_masks,
        masking.repair_masks_of_the_first_epoch,
        ending.repair_readers_at_exit,
        ending.repair_groups_at_exit,
    )
    silence_noise()
    keep_freed_memory()
    return [repair.__name__.removeprefix("repair_") for repair in repairs if repair()]
