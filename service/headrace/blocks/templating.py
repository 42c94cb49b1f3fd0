"""Templating of project files: the functions a template may call, and rendering with errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

from jinja2 import Template, TemplateSyntaxError, Undefined
from jinja2 import TemplateError as JinjaError

from headrace.blocks.sandbox import JOIN, MOST_CHARACTERS, STEP, SandboxedEnvironment, Steps, join
from headrace.domain.errors import HeadraceError

__all__ = [
    "MOST_CHARACTERS",
    "SandboxedEnvironment",
    "TemplateError",
    "UnsetVariable",
    "check_syntax",
    "evaluate",
    "render",
]

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_MOST_SOURCE = 5_000_000
_KEEP = "__keep"


class TemplateError(HeadraceError):
    """A template could not be rendered. `line` counts from 1 in the template's text."""

    code = "template-failed"

    def __init__(self, message: str, *, line: int | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.line = line


class UnsetVariable(TemplateError):
    """A template needs an environment variable that is not set."""

    code = "unset-variable"

    def __init__(self, name: str, *, line: int | None = None) -> None:
        super().__init__(
            f"The environment variable {name} is not set.",
            line=line,
            remedy=f"Set {name} in the environment or in the project's .env file.",
        )
        self.name = name


def render(
    text: str,
    *,
    environ: Mapping[str, str],
    variables: Mapping[str, Any] = _NOTHING,
    secret: Callable[[str], str] | None = None,
    names: Mapping[str, Any] = _NOTHING,
    unset: Callable[[str], str] | None = None,
) -> str:
    """Render `text` with env_var, variables, mage_secret_var, json_value, and `variables` and `names` as bare names.

    `unset` tells what stands for a variable that is not set where its text is needed; without it that raises
    UnsetVariable. `env_var('X') or 'y'`, `env_var('X', 'y')` and `env_var('X') | default('y')` give a default.
    Raises TemplateError, with its line, for all else that fails, and for more than MOST_CHARACTERS of output.
    """
    functions = {
        "env_var": _env_var(environ, unset),
        "variables": _variables(variables),
        "mage_secret_var": _secret(secret),
        "aws_secret_var": _no_secret_store("AWS"),
        "azure_secret_var": _no_secret_store("Azure"),
        "json_value": _json_value,
        STEP: Steps(),
        JOIN: join,
    }
    template = _compiled(text)
    try:
        return _limited(template, {**variables, **names, **functions})
    except TemplateError as error:
        error.line = error.line or _line(error)
        raise
    except HeadraceError as error:
        raise TemplateError(error.message, line=_line(error), remedy=error.remedy) from error
    except JinjaError as error:
        told = str(error.message).rstrip(".")
        raise TemplateError(f"The template could not be rendered: {told}.", line=_line(error)) from error
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"
        raise TemplateError(f"The template could not be rendered: {told}.", line=_line(error)) from error


def evaluate(expression: str, *, environ: Mapping[str, str] = _NOTHING, names: Mapping[str, Any] = _NOTHING) -> Any:
    """The value of an expression over `names`, of its own type; the functions and caps are those of `render`.

    Raises TemplateError for all that fails.
    """
    kept: list[Any] = []

    def keep(value: Any) -> str:
        kept.append(value)
        return ""

    render(f"{{{{ {_KEEP}(({expression})) }}}}", environ=environ, names={**names, _KEEP: keep})
    return kept[-1]


def check_syntax(text: str) -> None:
    """Parse a template without rendering it; raises TemplateError with its line."""
    try:
        _environment().parse(text)
    except TemplateSyntaxError as error:
        raise _bad_syntax(error) from error


def _limited(template: Template, names: Mapping[str, Any]) -> str:
    parts: list[str] = []
    size = 0
    for part in template.generate(**names):
        size += len(part)
        if size > MOST_CHARACTERS:
            raise TemplateError(f"The template renders to more than {MOST_CHARACTERS} characters.")
        parts.append(part)
    return "".join(parts)


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment()


@lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    if len(text) > _MOST_SOURCE:
        raise TemplateError(f"The template has more than {_MOST_SOURCE} characters.")
    environment = _environment()
    try:
        return environment.from_string(environment.bounded(text))
    except TemplateSyntaxError as error:
        raise _bad_syntax(error) from error
    except (MemoryError, OverflowError, RecursionError, SyntaxError) as error:
        raise TemplateError(f"The template is too deep or too large: {error}") from error


def _bad_syntax(error: TemplateSyntaxError) -> TemplateError:
    return TemplateError(
        f"The template is not valid: {error.message}", line=error.lineno, remedy="Check the braces and quotes."
    )


def _line(error: BaseException) -> int | None:
    """The template's line that raised: Jinja2 rewrites tracebacks to speak of its lines."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


class _Unset(Undefined):
    """An environment variable that is not set: false, replaced by `default`, an error where its text is needed."""

    __slots__ = ("_told",)

    def __init__(self, name: str, told: Callable[[str], str] | None) -> None:
        super().__init__(name=name)
        self._told = told

    def __str__(self) -> str:
        return self._refuse() if self._told is None else self._told(str(self._undefined_name))

    def __len__(self) -> int:
        return 0 if self._told is None else len(str(self))

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UnsetVariable(str(self._undefined_name))

    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = __mod__ = __rmod__ = _refuse
    __int__ = __float__ = __getitem__ = __call__ = __lt__ = __le__ = __gt__ = __ge__ = __iter__ = _refuse


def _env_var(environ: Mapping[str, str], unset: Callable[[str], str] | None) -> Callable[..., Any]:
    def env_var(name: str, default: Any = None) -> Any:
        if name in environ:
            return environ[name]
        return _Unset(name, unset) if default is None else default

    return env_var


def _variables(given: Mapping[str, Any]) -> Callable[..., Any]:
    def variables(name: str, parse: Callable[[Any], Any] | None = None) -> Any:
        if name not in given:
            raise TemplateError(f"There is no variable {name}.", remedy="Declare it under the pipeline's `variables`.")
        return parse(given[name]) if parse else given[name]

    return variables


def _secret(secret: Callable[[str], str] | None) -> Callable[[str], str]:
    def mage_secret_var(name: str) -> str:
        if secret is None:
            raise TemplateError(f"There is no secret {name}.", remedy="Use env_var for a value from the environment.")
        return secret(name)

    return mage_secret_var


def _no_secret_store(store: str) -> Callable[..., str]:
    def secret_var(name: str, *_: Any, **__: Any) -> str:
        raise TemplateError(
            f"The secret {name} is in {store}'s store, which is not read.",
            remedy="Use env_var or mage_secret_var.",
        )

    return secret_var


def _json_value(text: str, key: str) -> Any:
    return json.loads(text)[key]
