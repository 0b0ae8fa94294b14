"""`deepscaler view`: what models wrote in evaluations and trainings, as one page, or by a local server for more."""

import argparse
from pathlib import Path

from deepscaler.commands.counting import counts_without
from deepscaler.commands.parser import Parser
from deepscaler.system.exit_codes import DONE
from deepscaler.system.flags import whole

EXAMPLES = (
    "deepscaler view outputs/deepscaler-1.5b outputs/base-1.5b",
    "deepscaler view outputs/8k --serve 8787",
)

MAX_PAGE = 16 * 2**20
"""Bytes of responses that one page holds; a browser opens it within two seconds (docs/view.md)."""


def configure(parser: Parser) -> None:
    """Adds the folders, and the choice of page or server."""
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="the --output-dir of `deepscaler evaluate`, `train` or `chain`; several are shown beside each other",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the page to this file (default: view.html in the first DIR)"
    )
    serve = parser.add_argument(
        "--serve",
        type=whole(0, 65_535),
        nargs="?",
        # 0 stands for any free port, None for a page instead of a server.
        const=0,
        metavar="PORT",
        help="serve the page to this machine's browser instead of writing it, on this port or any free one; without"
        f" --output, this is the default for more than {MAX_PAGE // 2**20} MiB of responses",
    )
    counts_without(serve, "--output")
    parser.add_dry_run("say what would be written or served, do neither")


def run(arguments: argparse.Namespace) -> int:
    """Writes the page, or serves it until Ctrl-C."""
    # numpy and parquet, which --help does not need
    from deepscaler.view.sources import find_sources, total_bytes  # noqa: PLC0415

    found = find_sources(arguments.folders)
    size = total_bytes(found)
    told = f"{len(found)} folder{'s' * (len(found) != 1)} with {size / 2**20:,.1f} MiB of responses"
    output = arguments.output or arguments.folders[0] / "view.html"
    if arguments.serve is None and (arguments.output or size <= MAX_PAGE):
        if arguments.dry_run:
            print(f"would write {output}: {told}")
            return DONE
        _write(output, arguments.folders, told)
        return DONE
    if arguments.serve is None:
        told += ", too much for one page"
    if arguments.dry_run:
        print(f"would serve {told}")
        return DONE
    return _serve(arguments.folders, arguments.serve or 0, told)


def _write(output: Path, folders: list[Path], told: str) -> None:
    from deepscaler.system.files import write_text  # noqa: PLC0415
    from deepscaler.view.page import static_page  # noqa: PLC0415
    from deepscaler.view.sources import find_sources, read_sources  # noqa: PLC0415

    write_text(output, static_page(read_sources(find_sources(folders))))
    print(f"Page: {output} ({told})")


def _serve(folders: list[Path], port: int, told: str) -> int:
    from deepscaler.view.serve import Library, PageServer  # noqa: PLC0415
    from deepscaler.view.sources import find_sources  # noqa: PLC0415

    library = Library(lambda: find_sources(folders))
    # Before the address is printed: a damaged folder is this command's error and not an empty page.
    library.load()
    with PageServer(library, port) as server:
        # flushed, because serve_forever does not return and a pipe would not get the address
        print(f"Serving {told}. Open {server.address}\nPress Ctrl-C to stop.", flush=True)
        server.serve_forever()
    return DONE
