"""`fma download`: FMA's archives, resumable and checked against the SHA-1 sums that FMA publishes."""

import argparse

from transforms import storage
from transforms.catalog.download import ARCHIVES, BASE_URL, check_base_url, choose_archives, download
from transforms.runtime.console import human_bytes, say
from transforms.runtime.invocation import called_as, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fma download`."""
    parser.description = "Fetches FMA's official archives; resumes interrupted downloads and checks SHA-1 sums."
    parser.epilog = f"example: {called_as()} download --subset small --out data"
    parser.add_argument(
        "--subset", choices=[name for name in ARCHIVES if name != "metadata"], help="which audio archive"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the zip files")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--no-metadata", action="store_true", help="the audio archive alone")
    which.add_argument("--only", choices=["metadata"], help="the metadata archive alone")
    parser.add_argument(
        "--base-url", default=BASE_URL, metavar="URL", help="where the archives are (default: %(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="hash archives that are already there again")


def run(args: argparse.Namespace) -> int:
    """Download the archives and print the command that comes next."""
    archives = choose_archives(args.subset, args.only, args.no_metadata)
    check_base_url(args.base_url)
    paths = [download(archive, args.out, base_url=args.base_url, check=args.check) for archive in archives]
    for path in paths:
        say(f"{path}: {human_bytes(storage.size(path))}, SHA-1 as published")
    if len(paths) == 2:
        inputs = ("--audio", paths[1], "--metadata", paths[0], "--subset", args.subset)
        say(f"next: {command_line('ingest', *inputs, '--out', 'DATASET')}")
    return 0
