"""Templates: what they may call, what they are refused, and errors that name the line."""

from __future__ import annotations

import datetime

import pytest
from headrace.blocks.sandbox import MOST_CHARACTERS
from headrace.blocks.templating import TemplateError, UnsetVariable, check_syntax, render
from hypothesis import given
from hypothesis import strategies as st

ENVIRON = {"A": "one"}


def test_each_function_gives_its_value():
    text = (
        "{{ env_var('A') }} {{ variables('n') }} {{ n }} {{ json_value('{\"k\": 3}', 'k') }} {{ mage_secret_var('s') }}"
    )
    assert render(text, environ=ENVIRON, variables={"n": 7}, secret=str.upper) == "one 7 7 3 S"


def test_bare_names_are_given_and_plain_values_keep_their_methods():
    day = datetime.datetime(2021, 1, 2, tzinfo=datetime.UTC)
    rendered = render("{{ day.strftime('%Y') }} {{ event.key }}", environ={}, names={"day": day, "event": {"key": "v"}})
    assert rendered == "2021 v"


def test_an_unset_variable_is_told_by_name_and_line():
    with pytest.raises(UnsetVariable) as caught:
        render("first\n{{ env_var('B') }}", environ=ENVIRON)
    assert (caught.value.name, caught.value.line, caught.value.code) == ("B", 2, "unset-variable")


@pytest.mark.parametrize(
    "text", ["{{ env_var('B') or 'x' }}", "{{ env_var('B', 'x') }}", "{{ env_var('B') | default('x') }}"]
)
def test_an_unset_variable_may_have_a_default(text):
    assert render(text, environ=ENVIRON) == "x"


def test_an_undefined_name_and_bad_syntax_are_errors_with_their_line():
    with pytest.raises(TemplateError) as caught:
        render("\n\n{{ nope }}", environ={})
    assert caught.value.line == 3
    with pytest.raises(TemplateError) as caught:
        check_syntax("\n{{ nope")
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'].__mro__ }}",
        "{{ ''|attr('__class__') }}",
        "{{ env_var.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ lipsum(5) }}",
        "{{ cycler('a') }}",
        "{{ joiner() }}",
        "{{ namespace() }}",
        "{{ thing.read() }}",
    ],
)
def test_a_template_cannot_walk_out_of_what_it_is_given(text):
    with pytest.raises(TemplateError) as caught:
        render(text, environ={}, names={"thing": open})
    assert caught.value.code == "template-failed"


DOUBLING = "{% set x = 'a' * 1000 %}"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "{{ range(10**9) | list }}",
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% macro a(n) %}{% if n %}{{ a(n - 1) }}{{ a(n - 1) }}{% endif %}{% endmacro %}{{ a(40) }}",
        DOUBLING + "{% set x = x ~ x %}" * 40,
        DOUBLING + "{% set x = x + x %}" * 40,
        "{{ 'a' * 10**9 }}",
        "{{ [0] * 10**9 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' | format(999999999, 1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ 'a'.ljust(10**9) }}",
        "{{ 'a' | center(10**9) }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
        "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
        "{{ (['a'] * 1000) | join('b' * 1000000) }}",
        "{{ ('a\n' * 500000) | indent(10000) }}",
        "{% for a in range(99) %}{{ 'a' * 100000 }}{% endfor %}",
    ],
)
def test_a_template_cannot_grow_without_bound(text):
    with pytest.raises(TemplateError):
        render(text, environ={})


def test_output_up_to_the_cap_is_rendered():
    assert len(render("{{ 'a' * most }}", environ={}, names={"most": MOST_CHARACTERS})) == MOST_CHARACTERS


@given(st.text(alphabet=st.characters(exclude_characters="{}%#\r", exclude_categories=["Cs"])))
def test_text_without_templates_comes_back_as_it_is(text):
    assert render(text, environ={}) == text
