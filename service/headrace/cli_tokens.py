"""The commands on API tokens: who may use the HTTP API, and for what."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.domain.scopes import Scope
from headrace.terminal.options import JsonOption, ProjectOption, finish, screen_of

tokens = typer.Typer(rich_markup_mode=None, help="Who may use the HTTP API, and for what.", invoke_without_command=True)


@tokens.callback()
def list_them(context: typer.Context, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List tokens, newest first."""
    context.obj = project
    if context.invoked_subcommand is None:
        from headrace.terminal.tokens import list_all

        screen = screen_of(project, is_json=as_json)
        finish(screen, list_all(screen))


@tokens.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the token is for.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it allows: read, run, edit or admin. Repeatable; run if left out.")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.001, help="Days until it ends; for ever if left out.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, this once."""
    from headrace.terminal.tokens import make

    screen = screen_of(project or context.obj, is_json=as_json)
    finish(screen, make(screen, name, scope or [Scope.RUN], days))


@tokens.command()
def revoke(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=1, metavar="TOKEN", help="A token's number.")],
    project: ProjectOption = None,
) -> None:
    """End a token at once."""
    from headrace.terminal.tokens import end

    screen = screen_of(project or context.obj)
    finish(screen, end(screen, number))
