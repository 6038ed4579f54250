"""``headrace features retire VIEW``: remove what is stored of a view that is no longer defined."""

import argparse
import dataclasses
import json
import sys

from headrace.cli.feature_changes import live_readers
from headrace.config import load_settings
from headrace.spec.project import Project

__all__ = ["retire"]


def retire(project: Project, args: argparse.Namespace) -> int:
    """Remove it, or say what would go."""
    from feature_store.upkeep.retire_view import retire_view

    settings = load_settings()
    readers, notes = live_readers(settings, project)
    for note in notes:
        print(note, file=sys.stderr)
    gone = retire_view(settings, project, args.view, readers, dry_run=args.dry_run)
    if args.json:
        print(json.dumps({**dataclasses.asdict(gone), "dry_run": args.dry_run}))
        return 0
    feast = ", its entry in Feast" if gone.is_registered else ""
    print(
        f"{gone.view}: {gone.rows_online:,} rows online, {gone.log_rows:,} rows of the feature log,"
        f" state of {gone.state_folders} definitions{feast}"
        + (" would be removed (--dry-run)" if args.dry_run else " are removed")
    )
    return 0
