"""``schema``: the language's JSON Schema, for editors."""

from __future__ import annotations

import click

from .common import command


@command(
    "schema", plugins=True, short_help="Print the language's JSON Schema.",
    examples=[
        ("yamlflow schema > schemas/package.schema.json", "with every kind of the project's plugins"),
        ("yamlflow schema --no-plugins", "with the built-in kinds"),
        ("yamlflow schema --bare", "the language alone"),
        ("yamlflow schema --test", "the schema of *.test.yaml files"),
    ],
)  # fmt: skip
@click.option("--bare", is_flag=True, help="Without what the kinds want in `with`.")
@click.option("--test", "of_tests", is_flag=True, help="That of test files instead.")
@click.pass_context
def schema(ctx: click.Context, bare: bool, of_tests: bool) -> int:
    """Print the JSON Schema of packages, with what every kind wants in its `with`, so that an editor completes it.

    An editor finds it by a package's first line: `# yaml-language-server: $schema=../schemas/package.schema.json`.
    """
    import json

    from ..document import package_schema, schema_of_tests
    from ..views.language import with_kinds
    from .opening import plugins_of

    language = schema_of_tests() if of_tests else package_schema()
    if not bare and not of_tests:
        executors = plugins_of(ctx).executors
        language = with_kinds(language, {kind: executors[kind].schema for kind in sorted(executors)})
    click.echo(json.dumps(language, indent=2, ensure_ascii=False))
    return 0
